import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { until } from "../helpers/until.ts";
import { atEnd } from "../helpers/at-end.ts";
import { openSandbox, type SandboxPlan } from "../../src/kit/sandbox.ts";
import { toolSpawner } from "../../src/kit/tool-sandbox.ts";

const fixture = fileURLToPath(new URL("../fixtures/runs-sandboxes.ts", import.meta.url));
const source = fileURLToPath(new URL("../../src/native/tool-spawner.c", import.meta.url));
const never = new AbortController().signal;
const stdio = { stdin: "ignore", stdout: "pipe", stderr: "ignore" } as const;

function aPlan(script: string, more: Partial<SandboxPlan> = {}): SandboxPlan {
  return {
    init: "tool-init",
    initArgs: [],
    argv: ["/bin/sh", "-c", script],
    hostname: "tool",
    network: "own",
    nestedUserNamespaces: false,
    readOnlyProc: true,
    root: { kind: "system" },
    binds: [],
    files: [],
    tmpfs: [{ path: "/tmp", bytes: 1 << 20 }],
    cwd: "/",
    env: { PATH: "/usr/bin:/bin" },
    processes: 64,
    seccomp: "tool",
    ...more,
  };
}

async function output(script: string, more: Partial<SandboxPlan> = {}): Promise<string> {
  await using sandbox = await openSandbox(aPlan(script, more), stdio, never);
  return await text(sandbox.stdout!);
}

/** Calls of every kind in a process of its own, with a given build of tool-spawner. */
async function manyCalls(spawner: string | undefined) {
  const env = { ...process.env, ...(spawner === undefined ? {} : { SPAWNER: spawner }) };
  const { stdout } = await promisify(execFile)(process.execPath, [fixture, "many"], { env });
  return JSON.parse(stdout) as { first: string[]; before: object; after: object };
}

const EXITED = '{"kind":"exited","code":0}';
const ENDS = [
  `in${EXITED}`,
  '{"kind":"signalled","signal":"SIGKILL"}',
  `s/shared\n${EXITED}`,
  '{"kind":"failed","errno":"ENOENT","step":"exec"}',
  '{"kind":"failed","errno":"ENOENT","step":"chdir"}',
  "refused",
  "refused",
];

suite("tool-spawner", () => {
  test("ends its sandboxes with it, and the next call starts another one", async () => {
    const sandbox = await openSandbox(aPlan("sleep 300 & sleep 300"), stdio, never);
    const { pid } = toolSpawner();

    process.kill(pid, "SIGKILL");
    await sandbox.closed;

    assert.ok(!existsSync(`/proc/${sandbox.pid}`));
    assert.deepEqual(await sandbox.toolExit, { kind: "lost" });
    await sandbox[Symbol.asyncDispose]();
    assert.equal(await output("echo again"), "again\n");
    assert.notEqual(toolSpawner().pid, pid);
  });

  test("ends with the process it works for, also when that is killed", async () => {
    const runner = spawn(process.execPath, [fixture, "sleep"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(runner.stdout, "data")) as [Buffer];
    const pids = JSON.parse(line.toString()) as number[];
    assert.equal(pids.length, 2);

    runner.kill("SIGKILL");

    await until("processes gone", () => !pids.some((pid) => existsSync(`/proc/${pid}`)));
  });

  test("leaves no descriptor behind, here or in it, however calls end", async () => {
    const { first, before, after } = await manyCalls(undefined);

    assert.deepEqual(first, ENDS);
    assert.deepEqual(after, before);
  });

  test("does all of it under the address and undefined-behaviour sanitizers", async (context) => {
    const build = await sanitized(context);
    if (build === null) return context.skip("no compiler with sanitizers here");

    assert.deepEqual((await manyCalls(build)).first, ENDS);
  });

  test("gives a tool nothing open but its pipes, and of devices only those that are harmless", async () => {
    assert.equal(
      await output("tr -d '\\0' < /proc/1/cmdline; cat /proc/1/environ /proc/1/maps"),
      "tool-init",
    );
    const seen = await output(
      "ls /proc/self/fd | tr '\\n' ' '; ls /dev | tr '\\n' ' '; ls /dev/shm",
    );

    assert.equal(seen, "0 1 2 3 fd full null random shm stderr stdin stdout urandom zero ");
  });

  test("gives a tool no right of any kind, and mounts that let it gain none", async () => {
    const seen = await output(
      "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; cat /proc/self/oom_score_adj; cat /proc/self/mountinfo",
    );

    for (const set of ["Inh", "Prm", "Eff", "Bnd", "Amb"])
      assert.match(seen, new RegExp(`Cap${set}:\t0{16}\n`));
    assert.match(seen, /NoNewPrivs:\t1\nSeccomp:\t2\n1000\n/);
    for (const line of seen.split("\n").filter((each) => / - /.test(each))) {
      const [, , , , point = "", flags = "", next] = line.split(" ");
      assert.match(flags, /nosuid/, line);
      // The names of keys are covered by the null device.
      const isDevice = point.startsWith("/dev/") || point === "/proc/keys";
      assert.ok(isDevice || flags.includes("nodev"), line);
      assert.ok(point === "/tmp" || isDevice || flags.startsWith("ro"), line);
      assert.equal(next, "-", `not private: ${line}`);
    }
  });

  test("holds a tmpfs to a number of files, too", async () => {
    const script = "i=0; while [ $i -lt 3000 ] && true > /tmp/$i; do i=$((i+1)); done; echo $i";

    const made = Number(await output(`${script} 2>/dev/null`));

    assert.ok(made > 500 && made < 1100, `${made} files in 1 MiB`);
  });
});

async function sanitized(context: TestContext): Promise<string | null> {
  const directory = mkdtempSync(join(tmpdir(), "ak-sanitized-"));
  atEnd(context, () => rmSync(directory, { recursive: true }));
  const program = join(directory, "tool-spawner");
  const flags = ["-O1", "-g", "-std=gnu11", "-fsanitize=address,undefined"];
  const whole = ["-fno-sanitize-recover=undefined", "-static-libasan", "-static-libubsan"];
  try {
    await promisify(execFile)("/usr/bin/cc", [...flags, ...whole, "-o", program, source]);
    return program;
  } catch {
    return null;
  }
}
