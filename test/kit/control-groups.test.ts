import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite, test } from "node:test";
import { text } from "node:stream/consumers";
import { atEnd } from "../helpers/at-end.ts";
import { findHierarchy, openControlGroup, removeOldGroups } from "../../src/kit/control-groups.ts";
import { messageOf } from "../../src/kit/platform-error.ts";
import { openSandbox, type SandboxPlan } from "../../src/kit/sandbox.ts";

const MIB = 1024 * 1024;

/** Why no group can be made here; false when it can. */
async function whyNot(): Promise<string | false> {
  try {
    await openControlGroup({ memoryBytes: 64 * MIB, processes: 4 }).close();
    return false;
  } catch (error) {
    return messageOf(error);
  }
}

const skip = await whyNot();

async function run(program: string, enforced: { memoryBytes: number; processes: number }) {
  const plan: SandboxPlan = {
    init: "tool-init",
    initArgs: [],
    argv: ["/usr/bin/python3", "-c", program],
    hostname: "tool",
    network: "own",
    nestedUserNamespaces: false,
    readOnlyProc: true,
    root: { kind: "system" },
    binds: [],
    files: [],
    tmpfs: [{ path: "/tmp", bytes: 512 * MIB }],
    cwd: "/",
    env: { PATH: "/usr/bin:/bin" },
    processes: 500,
    enforced,
    seccomp: "tool",
  };
  const stdio = { stdin: "ignore", stdout: "pipe", stderr: "pipe" } as const;
  await using sandbox = await openSandbox(plan, stdio, new AbortController().signal);
  const [stdout, stderr] = await Promise.all([text(sandbox.stdout!), text(sandbox.stderr!)]);
  const exit = await sandbox.toolExit;
  await sandbox.closed;
  return { stdout, stderr, exit, limitReached: sandbox.limitReached };
}

/** Directories of groups that this process made. */
function ourGroups(): string[] {
  const lines = readFileSync("/proc/self/cgroup", "utf8").split("\n");
  const parents = lines.flatMap((line) => {
    const [, names = "", path = ""] = line.split(":");
    return /memory|pids/.test(names) ? [`/sys/fs/cgroup/${names}${path}`] : [];
  });
  return parents.flatMap((parent) =>
    readdirSync(parent)
      .filter((name) => name.startsWith(`agentkube-${process.pid}-`))
      .map((name) => `${parent}/${name}`),
  );
}

suite("a sandbox in a control group", { skip }, () => {
  test("is ended by the kernel when its processes together use up the memory", async () => {
    const hog = `
import os, time
for child in range(8):
    if os.fork() == 0:
        data = bytearray(24 * 1024 * 1024)
        for at in range(0, len(data), 4096): data[at] = 1
        time.sleep(5)
time.sleep(5)
`;
    const { limitReached } = await run(hog, { memoryBytes: 96 * MIB, processes: 64 });

    assert.equal(limitReached, "memory");
  });

  test("pays for what it writes to its tmpfs", async () => {
    const filler = `
try:
    with open("/tmp/big", "wb") as file:
        for each in range(200): file.write(b"x" * 1024 * 1024)
    print("wrote all")
except OSError as error: print("refused", error.errno)
`;
    const { stdout, limitReached } = await run(filler, { memoryBytes: 64 * MIB, processes: 64 });

    assert.equal(stdout, "");
    assert.equal(limitReached, "memory");
  });

  test("cannot have more processes than its limit", async () => {
    const forker = `
import os, time
count = 1
try:
    while count < 100:
        if os.fork() == 0: time.sleep(20); os._exit(0)
        count += 1
except OSError as error: print("refused", error.errno, count)
`;
    const { stdout } = await run(forker, { memoryBytes: 256 * MIB, processes: 16 });

    assert.equal(stdout, "refused 11 16\n");
  });

  test("leaves no group behind, and one that a crash left is removed at the next start", async () => {
    await run("print(1)", { memoryBytes: 64 * MIB, processes: 8 });
    assert.deepEqual(ourGroups(), []);

    const group = openControlGroup({ memoryBytes: 64 * MIB, processes: 8 });
    const [made] = ourGroups();
    assert.ok(made !== undefined);
    const left = `${dirname(made)}/agentkube-4194000-1`;
    mkdirSync(left);

    assert.ok((await removeOldGroups()) >= 1);

    assert.ok(!readdirSync(dirname(left)).includes("agentkube-4194000-1"));
    assert.ok(ourGroups().length > 0, "a living process keeps its groups");
    await group.close();
    assert.deepEqual(ourGroups(), []);
  });
});

// No kernel: files in a directory. It shows where groups are made and what is written into them, not that a kernel takes it.
suite("a faked tree of cgroup v2", () => {
  function aTree(context: { after(end: () => void): void }, enabled: Record<string, string>) {
    const mount = mkdtempSync(join(tmpdir(), "ak-groups-"));
    atEnd(context, () => rmSync(mount, { recursive: true }));
    const own = join(mount, "own");
    writeFileSync(own, "0::/user.slice/app.scope\n");
    mkdirSync(join(mount, "user.slice/app.scope"), { recursive: true });
    for (const [group, controllers] of Object.entries(enabled))
      writeFileSync(join(mount, group, "cgroup.subtree_control"), `${controllers}\n`);
    return { mount, find: () => findHierarchy(mount, own) };
  }

  test("makes its groups where both controllers are handed on: below this process's, else beside it", (context) => {
    const below = aTree(context, { "user.slice/app.scope": "cpu memory pids" });
    const beside = aTree(context, { "user.slice": "memory pids", "user.slice/app.scope": "" });

    assert.deepEqual(below.find(), {
      version: 2,
      memory: join(below.mount, "user.slice/app.scope"),
      pids: join(below.mount, "user.slice/app.scope"),
    });
    assert.equal(beside.find().memory, join(beside.mount, "user.slice"));
  });

  test("is refused where one of them is not handed on, with what to do", (context) => {
    const none = aTree(context, { "user.slice": "memory", "user.slice/app.scope": "pids" });

    assert.throws(() => none.find(), {
      code: "tier_unavailable",
      message: /does not hand on the controllers memory and pids/,
      fix: /Delegate=yes/,
    });
  });

  test("holds a group to memory, without swap, and to processes, and is refused where a file of it is not to be written", (context) => {
    const { mount, find } = aTree(context, { "user.slice/app.scope": "memory pids" });
    const hierarchy = find();
    const name = `agentkube-${process.pid}-`;
    // A kernel makes these with the directory; here a group that was made before has them.
    assert.throws(() => openControlGroup({ memoryBytes: 64 * MIB, processes: 9 }, hierarchy), {
      code: "tier_unavailable",
      message: /cgroup.procs/,
    });

    const made = readdirSync(hierarchy.memory).find((each) => each.startsWith(name)) ?? "";
    const valueOf = (file: string): string =>
      readFileSync(join(mount, "user.slice/app.scope", made, file), "utf8");
    assert.deepEqual(["pids.max", "memory.max", "memory.oom.group"].map(valueOf), [
      "10",
      String(64 * MIB),
      "1",
    ]);
  });
});
