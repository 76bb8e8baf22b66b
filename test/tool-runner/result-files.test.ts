import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import type { ToolSpec } from "../../src/protocol/tool-manifest.ts";
import { parseFilePattern } from "../../src/tool-runner/file-patterns.ts";
import { runToolCall } from "../../src/tool-runner/run-tool-call.ts";
import { textOfCall } from "../../src/tool-runner/call-text.ts";
import { loadTool } from "../../src/tool-runner/tools.ts";
import { aRunner, aTool, never, temporaryDirectory } from "./support.ts";

const CALL = { tool: "box", operation: "go", arguments: {}, face: "cli" } as const;
const SECRET = "s3cret-0f-the-files-0123456789abcdef";

function giving(files: string[], script: string, spec: Partial<ToolSpec> = {}) {
  return aTool({
    ...spec,
    operations: [{ name: "go", command: ["/bin/sh", "-c", script], files }],
  });
}

suite("files that a call gives", () => {
  test("come from the workspace, whole, by name or by what fits, in their order", async (context) => {
    const workspace = temporaryDirectory(context);
    const tool = giving(
      ["report.txt", "charts/*.png", "not-there", "charts/?.csv"],
      String.raw`echo done > report.txt; mkdir charts; printf '\211PNG\0\377' > charts/b.png; cp charts/b.png charts/a.png; echo 1,2 > charts/x.csv; echo no > charts/xy.csv; echo no > .hidden.png; cp charts/b.png charts/.c.png`,
      { sandbox: { workspace: "rw" } },
    );
    const runner = await aRunner(context, [tool], { workspace });

    const result = await runToolCall(runner, CALL, never);

    const png = Buffer.from("\x89PNG\0\xff", "latin1");
    const sha256 = createHash("sha256").update(png).digest("hex");
    assert.deepEqual(result.files.omitted, []);
    assert.deepEqual(
      result.files.files.map(({ path, mediaType, bytes }) => [
        path,
        mediaType,
        bytes.toString("latin1"),
      ]),
      [
        ["report.txt", "text/plain", "done\n"],
        ["charts/a.png", "image/png", png.toString("latin1")],
        ["charts/b.png", "image/png", png.toString("latin1")],
        ["charts/x.csv", "text/csv", "1,2\n"],
      ],
    );
    const record = runner.records.find(({ type }) => type === "call");
    assert.ok(record?.type === "call");
    assert.deepEqual(record.files?.[1], { path: "charts/a.png", bytes: 6, sha256 });
    const { content } = textOfCall("box", undefined, result);
    assert.deepEqual(content[1], {
      type: "resource",
      resource: {
        uri: `agentkube://call/${result.call}/report.txt`,
        mimeType: "text/plain",
        text: "done\n",
      },
    });
    assert.ok(content[2]?.type === "resource" && "blob" in content[2].resource);
    assert.equal(content[2].resource.blob, png.toString("base64"));
  });

  test("come from the scratch of a tool without a workspace, which is gone by then, and from no call before", async (context) => {
    const tool = giving(
      ["out/*"],
      "ls -a /tmp; mkdir out; echo hello > out/one; (sleep 100; echo late > out/two) &",
    );
    const runner = await aRunner(context, [tool]);

    for (let each = 0; each < 2; each += 1) {
      const { stdout, files } = await runToolCall(runner, CALL, never);
      assert.equal(stdout, ".\n..\n");
      assert.deepEqual(
        files.files.map(({ path, bytes }) => `${path} ${bytes.toString()}`),
        ["out/one hello\n"],
      );
    }
  });

  test("are regular files alone: no link at any step, no directory, no pipe, nothing too large, too many or misnamed", async (context) => {
    const workspace = temporaryDirectory(context);
    const outside = temporaryDirectory(context);
    writeFileSync(join(outside, "canary"), SECRET);
    mkdirSync(join(workspace, "real"));
    writeFileSync(join(workspace, "real/in"), "in");
    symlinkSync("real", join(workspace, "inner-link"));
    symlinkSync(outside, join(workspace, "outer-link"));
    symlinkSync(join(outside, "canary"), join(workspace, "link"));
    const script = [
      "mkfifo pipe; mkdir directory; truncate -s 100G sparse; echo ok > plain; chmod 0 plain",
      String.raw`touch "$(printf 'bad\377name')"`,
      "ln -s /proc/self/environ environ; ln -s /etc/passwd passwd; ln plain hard",
    ].join("; ");
    const tool = giving(
      ["*", "inner-link/in", "outer-link/canary", "real/in", "*/canary"],
      script,
      {
        sandbox: { workspace: "rw" },
      },
    );
    const runner = await aRunner(context, [tool], { workspace });

    const { files, outcome } = await runToolCall(runner, CALL, never);

    assert.equal(outcome, "completed");
    const omitted = Object.fromEntries(files.omitted.map(({ path, why }) => [path, why]));
    const asRoot = process.getuid?.() === 0;
    assert.deepEqual(omitted, {
      "bad�name": "bad_name",
      directory: "not_a_file",
      environ: "not_a_file",
      "inner-link": "not_a_file",
      link: "not_a_file",
      "outer-link": "not_a_file",
      passwd: "not_a_file",
      pipe: "not_a_file",
      real: "not_a_file",
      sparse: "too_large",
      ...(asRoot ? {} : { plain: "not_a_file", hard: "not_a_file" }),
    });
    assert.deepEqual(
      files.files.map(({ path }) => path),
      asRoot ? ["hard", "plain", "real/in"] : ["real/in"],
    );
  });

  test("are bounded: 32 of them, 4 MiB together unless told otherwise, and a bounded look", async (context) => {
    const tool = giving(
      ["many/*"],
      "mkdir many; for i in $(seq 1 40); do head -c 200000 /dev/zero > many/$(printf %02d $i); done",
    );
    const small = giving(["one", "two"], "echo 12345 > one; echo 1234567 > two", {
      sandbox: { limits: { files: "10" } },
    });
    const crowd = giving(
      ["d/x*", "last"],
      "mkdir d; cd d; seq 1 21000 | xargs touch; echo l > ../last",
    );
    const results = [];
    for (const each of [tool, small, crowd])
      results.push((await runToolCall(await aRunner(context, [each]), CALL, never)).files);

    const [first, second, third] = results;
    assert.equal(first?.files.length, 20);
    assert.deepEqual(new Set(first?.omitted.map(({ why }) => why)), new Set(["too_large"]));
    assert.deepEqual(
      second?.files.map(({ path }) => path),
      ["one"],
    );
    assert.deepEqual(second?.omitted, [{ path: "two", why: "too_large" }]);
    assert.deepEqual(third?.omitted, [{ path: "d/x*", why: "too_many" }]);
    assert.deepEqual(
      third?.files.map(({ path }) => path),
      ["last"],
    );
  });

  test("are masked like all that a tool says, in bytes that are no text too; a name that holds a secret is not given", async (context) => {
    const workspace = temporaryDirectory(context);
    const tool = giving(
      ["*.bin", "*.txt"],
      String.raw`printf "\0\1%s\377" "$KEY" > a.bin; echo x > "$KEY.txt"; echo kept > b.txt`,
      {
        sandbox: { workspace: "rw" },
        credentials: [{ name: "one", secretRef: { name: "files", key: "key" }, env: "KEY" }],
      },
    );
    const runner = await aRunner(context, [tool], { workspace, secrets: { "files/key": SECRET } });

    const result = await runToolCall(runner, CALL, never);

    const [masked, kept] = result.files.files;
    assert.equal(masked?.bytes.toString("latin1"), `\0\x01${"*".repeat(SECRET.length)}\xff`);
    assert.equal(kept?.bytes.toString(), "kept\n");
    assert.deepEqual(result.files.omitted, [
      { path: `${"*".repeat(SECRET.length)}.txt`, why: "bad_name" },
    ]);
    assert.ok(!JSON.stringify([result, runner.records]).includes(SECRET));
    // The private copy is not merged, since it holds the secret; the files are given all the same.
    assert.match(result.detail?.cause ?? "", /would hold a credential/);
  });

  test("never come from elsewhere while somebody swaps directories for links", async (context) => {
    const workspace = temporaryDirectory(context);
    const outside = temporaryDirectory(context);
    writeFileSync(join(outside, "in"), SECRET);
    const place = join(workspace, "place");
    mkdirSync(place);
    writeFileSync(join(place, "in"), "mine");
    symlinkSync(outside, join(workspace, "bad"));
    const tool = giving(["place/*", "pl?ce/in"], "true", { sandbox: { workspace: "ro" } });
    const runner = await aRunner(context, [tool], { workspace });
    const swapping = new AbortController();
    const swaps = (async () => {
      while (!swapping.signal.aborted) {
        renameSync(place, join(workspace, "good"));
        renameSync(join(workspace, "bad"), place);
        await new Promise(setImmediate);
        renameSync(place, join(workspace, "bad"));
        renameSync(join(workspace, "good"), place);
        await new Promise(setImmediate);
      }
    })();

    const seen = new Set<string>();
    for (let each = 0; each < 40; each += 1) {
      const { files } = await runToolCall(runner, CALL, never);
      for (const { bytes } of files.files) seen.add(bytes.toString());
    }
    swapping.abort();
    await swaps;

    assert.deepEqual([...seen], ["mine"]);
    assert.equal(readFileSync(join(outside, "in"), "utf8"), SECRET);
    rmSync(place, { recursive: true });
  });
});

suite("a pattern of files", () => {
  test("is a relative path whose names stay names", () => {
    for (const bad of ["/etc/passwd", "../x", "a//b", "a/./b", "", "a/", "**", "a/**/b", "x\n"])
      assert.throws(() => parseFilePattern(bad), Error, bad);
    const { problems } = loadTool(giving(["ok", "../x"], "true"));
    assert.deepEqual(
      problems.map(({ path }) => path),
      ["spec.operations[0].files[1]"],
    );
  });

  test("fits names as bytes, in bounded time", () => {
    const fits = (pattern: string, name: string): boolean => {
      const [part] = parseFilePattern(pattern).parts;
      return part !== undefined && ("fits" in part ? part.fits(name) : part.name === name);
    };
    for (const [pattern, name, expected] of [
      ["*", "a", true],
      ["*", ".a", false],
      [".*", ".a", true],
      ["a*b*c", "axxbxxc", true],
      ["a*b*c", "axxbxx", false],
      ["*.png", "x.png", true],
      ["*.png", "xpng", false],
      ["?", "a", true],
      ["?", "ab", false],
      ["a?c*", "abc", true],
      ["x", "x", true],
      ["[a]*", "a", false],
    ] as const)
      assert.equal(fits(pattern, name), expected, `${pattern} ${name}`);
    const startedAt = performance.now();
    assert.equal(fits(`${"a*".repeat(120)}b`, "a".repeat(255)), false);
    assert.ok(performance.now() - startedAt < 100);
  });
});
