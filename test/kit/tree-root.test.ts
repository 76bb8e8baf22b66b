import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { text } from "node:stream/consumers";
import { atEnd } from "../helpers/at-end.ts";
import { openSandbox, type SandboxPlan } from "../../src/kit/sandbox.ts";

/** A root file system with a shell, cat and ls, at the paths of an old layout (no links from /bin to /usr/bin). */
function aTree(context: TestContext): string {
  const tree = realpathSync(mkdtempSync(join(tmpdir(), "ak-tree-")));
  atEnd(context, () => rmSync(tree, { recursive: true }));
  for (const name of ["sh", "cat", "ls"]) {
    const program = `/usr/bin/${name}`;
    const libraries = execFileSync("/usr/bin/ldd", [realpathSync(program)], { encoding: "utf8" });
    for (const [path] of libraries.matchAll(/\/\S+/g)) copy(path, join(tree, path));
    copy(program, join(tree, "bin", name));
  }
  mkdirSync(join(tree, "etc/inner"), { recursive: true });
  writeFileSync(join(tree, "etc/passwd"), "root:x:0:0::/root:/bin/sh\n");
  writeFileSync(join(tree, "etc/release"), "a tree of its own\n");
  writeFileSync(join(tree, "etc/resolv.conf"), "nameserver 192.0.2.1\n");
  symlinkSync("release", join(tree, "etc/issue"));
  symlinkSync("/etc/shadow", join(tree, "etc/hosts"));
  return tree;
}

function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  execFileSync("cp", ["-L", from, to]);
}

async function runIn(tree: string, script: string, more: Partial<SandboxPlan> = {}) {
  const plan: SandboxPlan = {
    init: "tool-init",
    initArgs: [],
    argv: ["/bin/sh", "-c", script],
    hostname: "tool",
    network: "own",
    nestedUserNamespaces: false,
    readOnlyProc: true,
    root: { kind: "tree", path: tree },
    binds: [],
    files: [],
    tmpfs: [{ path: "/tmp", bytes: 1 << 20 }],
    cwd: "/",
    env: { PATH: "/bin" },
    processes: 64,
    seccomp: "tool",
    ...more,
  };
  const stdio = { stdin: "ignore", stdout: "pipe", stderr: "pipe" } as const;
  await using sandbox = await openSandbox(plan, stdio, new AbortController().signal);
  const [stdout, stderr, exit] = await Promise.all([
    text(sandbox.stdout!),
    text(sandbox.stderr!),
    sandbox.toolExit,
  ]);
  return { stdout, stderr, exit };
}

suite("a root file system of the tool's own", () => {
  test("is all that the tool sees, with our /proc, /dev and /tmp, which the tree need not have", async (context) => {
    const { stdout, stderr, exit } = await runIn(
      aTree(context),
      "ls /; cat /etc/release /etc/issue; cat /proc/1/comm; echo x > /dev/null; echo y > /tmp/y && cat /tmp/y",
    );

    assert.equal(stderr, "");
    assert.deepEqual(
      stdout
        .split("\n")
        .filter((line) => !/^(lib\w*|usr)$/.test(line))
        .join(" "),
      "bin dev etc opt proc tmp a tree of its own a tree of its own tool-init y ",
    );
    assert.deepEqual(exit, { kind: "exited", code: 0 });
  });

  test("is read-only, also where directories were made anew", async (context) => {
    const { stdout } = await runIn(
      aTree(context),
      "for f in /x /etc/x /etc/inner/x /etc/release /bin/x /etc/passwd /opt/agentkube/x; do (echo x > $f) 2>/dev/null && echo wrote $f; done; echo done",
    );

    assert.equal(stdout, "done\n");
  });

  test("has our user beside its own, no name server, and no link where our files lie", async (context) => {
    const { stdout } = await runIn(aTree(context), "cat /etc/passwd /etc/resolv.conf /etc/hosts");

    assert.match(
      stdout,
      /^agent:x:\d+:.*\nroot:x:0:0::\/root:\/bin\/sh\n127.0.0.1 localhost tool\n/,
    );
  });

  test("is refused when a link of it lies where a place of ours must be", async (context) => {
    const tree = aTree(context);
    symlinkSync("/usr/opt", join(tree, "opt"));

    await assert.rejects(runIn(tree, "true"), { code: "root_invalid", path: join(tree, "opt") });
    await assert.rejects(runIn(join(tree, "nothing"), "true"), { code: "root_invalid" });
  });

  test("takes binds and files at places it does not have", async (context) => {
    const tree = aTree(context);
    const { stdout } = await runIn(tree, "cat /run/credentials/key /opt/tool/release; ls /etc", {
      binds: [{ source: join(tree, "etc"), target: "/opt/tool", mode: "ro" }],
      files: [
        { path: "/run/credentials/key", data: Buffer.from("k\n"), mode: 0o400 },
        { path: "/etc/inner/deep/file", data: Buffer.from("f\n"), mode: 0o444 },
      ],
    });

    assert.match(stdout, /^k\na tree of its own\n/);
  });
});
