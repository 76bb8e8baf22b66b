import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  rmdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import timers from "node:timers/promises";
import { compileRedaction } from "../../src/kit/redactor.ts";
import { OpenedDirectory } from "../../src/kit/opened-directory.ts";
import {
  finishMerges,
  type MergeOptions,
  type MergeResult,
  PrivateWorkspace,
} from "../../src/tool-runner/private-workspace.ts";
import { hashTree } from "../../src/tool-runner/workspace-copy.ts";
import { changesOf } from "../../src/tool-runner/workspace-merge.ts";
import { never, temporaryDirectory } from "./support.ts";

interface Place {
  workspace: string;
  calls: string;
  options: MergeOptions;
}

function aPlace(context: TestContext): Place {
  const root = temporaryDirectory(context);
  const workspace = join(root, "workspace");
  mkdirSync(join(workspace, "src"), { recursive: true });
  writeFileSync(join(workspace, "src", "a.txt"), "a");
  writeFileSync(join(workspace, "b.txt"), "b", { mode: 0o640 });
  writeFileSync(join(workspace, "run.sh"), "#!/bin/sh\n", { mode: 0o755 });
  symlinkSync("/etc/passwd", join(workspace, "link"));
  execFileSync("mkfifo", [join(workspace, "fifo")]);
  const options: MergeOptions = {
    protectedPaths: new Set(),
    secrets: null,
    keepDir: join(root, "kept"),
  };
  return { workspace, calls: join(root, "calls"), options };
}

/** Copies, lets `tool` work in the copy and `agent` in the workspace, merges. */
async function mergeAfter(
  { workspace, calls, options }: Place,
  tool: (copy: string) => void,
  agent: () => void = () => {},
): Promise<MergeResult> {
  await using copy = await PrivateWorkspace.open(workspace, join(calls, "one"), never);
  tool(copy.path);
  agent();
  return await copy.merge(options, never);
}

suite("PrivateWorkspace", () => {
  test("copies regular files only, and leaves nothing behind", async (context) => {
    const place = aPlace(context);

    {
      await using copy = await PrivateWorkspace.open(
        place.workspace,
        join(place.calls, "one"),
        never,
      );
      assert.deepEqual(readdirSync(copy.path).sort(), ["b.txt", "run.sh", "src"]);
      assert.equal(lstatSync(join(copy.path, "run.sh")).mode & 0o777, 0o755);
    }

    assert.deepEqual(readdirSync(place.calls), []);
  });

  test("brings home what the tool changed, made and removed, and nothing else", async (context) => {
    const place = aPlace(context);
    const before = lstatSync(join(place.workspace, "run.sh")).mtimeMs;

    const result = await mergeAfter(place, (copy) => {
      writeFileSync(join(copy, "b.txt"), "changed");
      chmodSync(join(copy, "b.txt"), 0o6777);
      mkdirSync(join(copy, "new", "deep"), { recursive: true });
      writeFileSync(join(copy, "new", "deep", "c.txt"), "c", { mode: 0o4755 });
      rmSync(join(copy, "src"), { recursive: true });
      symlinkSync("/etc/passwd", join(copy, "sly"));
    });

    const merged = result.merged.map(({ path }) => path);
    assert.deepEqual(
      { ...result, merged },
      { merged: ["b.txt", "new/deep/c.txt", "src/a.txt"], conflicts: [], leaks: [], keptAt: null },
    );
    assert.equal(readFileSync(join(place.workspace, "b.txt"), "utf8"), "changed");
    assert.equal(lstatSync(join(place.workspace, "b.txt")).mode & 0o7777, 0o640);
    assert.equal(lstatSync(join(place.workspace, "new/deep/c.txt")).mode & 0o7777, 0o755);
    assert.deepEqual(readdirSync(place.workspace).sort(), [
      "b.txt",
      "fifo",
      "link",
      "new",
      "run.sh",
    ]);
    assert.equal(lstatSync(join(place.workspace, "run.sh")).mtimeMs, before);
  });

  test("survives names that are not UTF-8", async (context) => {
    const place = aPlace(context);
    const odd = Buffer.from("new\xff\nname", "latin1");

    await mergeAfter(place, (copy) =>
      writeFileSync(Buffer.concat([Buffer.from(`${copy}/`), odd]), "x"),
    );

    const names = readdirSync(place.workspace, { encoding: "buffer" });
    assert.ok(names.some((name) => name.equals(odd)));
  });

  test("merges nothing when a file changed meanwhile, and keeps the tool's version", async (context) => {
    const place = aPlace(context);

    const result = await mergeAfter(
      place,
      (copy) => {
        writeFileSync(join(copy, "b.txt"), "tool");
        writeFileSync(join(copy, "new.txt"), "tool");
      },
      () => writeFileSync(join(place.workspace, "b.txt"), "agent"),
    );

    assert.deepEqual(result, {
      merged: [],
      conflicts: ["b.txt"],
      leaks: [],
      keptAt: place.options.keepDir,
    });
    assert.equal(readFileSync(join(place.workspace, "b.txt"), "utf8"), "agent");
    assert.equal(existsSync(join(place.workspace, "new.txt")), false);
    assert.equal(readFileSync(join(place.options.keepDir, "b.txt"), "utf8"), "tool");
    assert.equal(readFileSync(join(place.options.keepDir, "new.txt"), "utf8"), "tool");
  });

  for (const [name, tool, agent, conflict] of [
    [
      "a link stands where the tool made a file",
      (copy: string) => writeFileSync(join(copy, "link"), "x"),
      () => {},
      "link",
    ],
    [
      "a link replaced the directory",
      (copy: string) => writeFileSync(join(copy, "src", "a.txt"), "x"),
      (workspace: string) => {
        rmSync(join(workspace, "src"), { recursive: true });
        symlinkSync("/tmp", join(workspace, "src"));
      },
      "src/a.txt",
    ],
    [
      "a link came in the way of a new file",
      (copy: string) => {
        mkdirSync(join(copy, "n"));
        writeFileSync(join(copy, "n", "x"), "x");
      },
      (workspace: string) => symlinkSync("/tmp", join(workspace, "n")),
      "n/x",
    ],
    [
      "the agent removed the file",
      (copy: string) => writeFileSync(join(copy, "b.txt"), "x"),
      (workspace: string) => rmSync(join(workspace, "b.txt")),
      "b.txt",
    ],
    [
      "the tool removed what the agent changed",
      (copy: string) => rmSync(join(copy, "b.txt")),
      (workspace: string) => writeFileSync(join(workspace, "b.txt"), "new"),
      "b.txt",
    ],
  ] as const) {
    test(`is a conflict when ${name}`, async (context) => {
      const place = aPlace(context);

      const result = await mergeAfter(place, tool, () => agent(place.workspace));

      assert.deepEqual(result.conflicts, [conflict]);
      assert.deepEqual(result.merged, []);
      assert.equal(readlinkSync(join(place.workspace, "link")), "/etc/passwd");
    });
  }

  test("does not take a file for removed that the tool hid or replaced by a link", async (context) => {
    const place = aPlace(context);

    await mergeAfter(place, (copy) => {
      rmSync(join(copy, "b.txt"));
      symlinkSync("/etc/passwd", join(copy, "b.txt"));
    });

    assert.equal(readFileSync(join(place.workspace, "b.txt"), "utf8"), "b");
  });

  test("refuses changes of protected files", async (context) => {
    const place = aPlace(context);
    const options = { ...place.options, protectedPaths: new Set(["src"]) };

    const result = await mergeAfter({ ...place, options }, (copy) =>
      writeFileSync(join(copy, "src", "a.txt"), "x"),
    );

    assert.deepEqual(result.conflicts, ["src/a.txt"]);
  });

  test("does not bring a credential into the workspace, in any form", async (context) => {
    const place = aPlace(context);
    const secret = Buffer.from("s3cret-value-of-a-token");
    const options = { ...place.options, secrets: compileRedaction([secret]) };

    const result = await mergeAfter({ ...place, options }, (copy) => {
      writeFileSync(join(copy, "fine.txt"), "fine");
      writeFileSync(join(copy, "leak.txt"), `token: ${secret.toString("base64")}`);
    });

    assert.deepEqual(result, { merged: [], conflicts: [], leaks: ["leak.txt"], keptAt: null });
    assert.equal(existsSync(join(place.workspace, "fine.txt")), false);
    assert.equal(existsSync(place.options.keepDir), false);
  });

  test("finishes a merge that a crash interrupted", async (context) => {
    const place = aPlace(context);
    const call = join(place.calls, "one");
    const copy = await PrivateWorkspace.open(place.workspace, call, never);
    await using own = await OpenedDirectory.open(copy.path);
    const base = await hashTree(own, never);
    writeFileSync(join(copy.path, "b.txt"), "changed");
    rmSync(join(copy.path, "run.sh"));
    const changes = changesOf(base, await hashTree(own, never));
    writeFileSync(
      join(call, "merge.json"),
      JSON.stringify({ workspace: place.workspace, changes }),
    );
    // The crash came between writing the temporary file and its rename.
    writeFileSync(join(place.workspace, ".agentkube-one.tmp"), "half");

    const unmerged = await finishMerges(place.calls);

    assert.deepEqual(unmerged, []);
    assert.equal(readFileSync(join(place.workspace, "b.txt"), "utf8"), "changed");
    assert.deepEqual(readdirSync(place.workspace).sort(), ["b.txt", "fifo", "link", "src"]);
    assert.deepEqual(readdirSync(place.calls), []);
  });

  test("removes what a crash before the merge left", async (context) => {
    const place = aPlace(context);
    await PrivateWorkspace.open(place.workspace, join(place.calls, "one"), never);
    mkdirSync(join(place.calls, "one", "copy", "closed"), { mode: 0o000 });

    await finishMerges(place.calls);

    assert.deepEqual(readdirSync(place.calls), []);
    assert.equal(readFileSync(join(place.workspace, "b.txt"), "utf8"), "b");
  });
});

suite("an opened directory", () => {
  test("is not opened through a link on the way to it", async (context) => {
    const root = realpathSync(temporaryDirectory(context));
    mkdirSync(join(root, "real/workspace"), { recursive: true });
    symlinkSync("real", join(root, "link"));

    await using opened = await OpenedDirectory.openReal(join(root, "real/workspace"));
    assert.ok((await opened.stat()).isDirectory());
    await assert.rejects(OpenedDirectory.openReal(join(root, "link/workspace")), { code: "ELOOP" });
  });

  test("never changes the mode of what a new directory was replaced by", async (context) => {
    const root = temporaryDirectory(context);
    mkdirSync(join(root, "workspace"));
    mkdirSync(join(root, "secret"), { mode: 0o700 });
    await using opened = await OpenedDirectory.open(join(root, "workspace"));
    const making = opened.makeDirectory("new", 0o755);
    // As an agent would: it waits for the directory and puts a link in its place.
    while (!existsSync(join(root, "workspace/new"))) await timers.setImmediate();
    try {
      rmdirSync(join(root, "workspace/new"));
      symlinkSync(join(root, "secret"), join(root, "workspace/new"));
    } catch {
      // The mode was set before.
    }

    await making.catch(() => undefined);

    assert.equal(lstatSync(join(root, "secret")).mode & 0o777, 0o700);
  });
});
