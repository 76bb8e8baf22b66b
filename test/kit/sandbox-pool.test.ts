import assert from "node:assert/strict";
import {
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { text } from "node:stream/consumers";
import { until } from "../helpers/until.ts";
import { atEnd } from "../helpers/at-end.ts";
import { childrenOf } from "../../src/kit/process-tree.ts";
import { openSandbox, type SandboxPlan } from "../../src/kit/sandbox.ts";
import { configurePool, emptyPool, poolMetrics } from "../../src/kit/sandbox-pool.ts";
import { toolSpawner } from "../../src/kit/tool-sandbox.ts";

const never = new AbortController().signal;

async function run(script: string, more: Partial<SandboxPlan> = {}): Promise<string> {
  const plan: SandboxPlan = {
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
  const stdio = { stdin: "ignore", stdout: "pipe", stderr: "ignore" } as const;
  await using sandbox = await openSandbox(plan, stdio, never);
  const [stdout] = await Promise.all([text(sandbox.stdout!), sandbox.toolExit]);
  return stdout;
}

async function withPool(context: TestContext, size: number, idleMs = 60_000): Promise<void> {
  await configurePool({ size, blanks: 0, profiles: 2, idleMs });
  atEnd(context, () => configurePool({ size: 0, blanks: 0, profiles: 2, idleMs }));
}

suite("sandboxes prepared ahead", () => {
  test("are used once each, by calls of the same profile", async (context) => {
    await withPool(context, 2);

    for (let each = 0; each < 4; each += 1)
      assert.equal(await run("echo x >> /tmp/left; cat /tmp/left; echo $$"), "x\n2\n");
    await run("true", { tmpfs: [{ path: "/tmp", bytes: 2 << 20 }] });

    const { warm, cold, prepared, discarded } = poolMetrics();
    assert.deepEqual([warm, cold, discarded], [3, 2, 0]);
    assert.ok(prepared >= 5, `${prepared} prepared`);
  });

  test("get the binds, files, environment and limits of their own call", async (context) => {
    await withPool(context, 1);
    const root = realpathSync(mkdtempSync(join(tmpdir(), "ak-pool-")));
    atEnd(context, () => rmSync(root, { recursive: true }));
    const call = async (name: string) => {
      const source = join(root, name);
      writeFileSync(source, `${name}\n`);
      return await run("cat /in /key; echo $NAME; ulimit -n; echo x 2>/dev/null > /in || echo ro", {
        binds: [{ source, target: "/in", mode: "ro" }],
        files: [{ path: "/key", data: Buffer.from(`key of ${name}\n`), mode: 0o400 }],
        env: { PATH: "/usr/bin:/bin", NAME: name },
        limits: { openFiles: name.length * 10 },
      });
    };

    assert.equal(await call("first"), "first\nkey of first\nfirst\n50\nro\n");
    assert.equal(await call("second"), "second\nkey of second\nsecond\n60\nro\n");
    assert.equal(poolMetrics().warm, 1);
  });

  test("see a bind as it is when the call comes, not as it was when they were prepared", async (context) => {
    await withPool(context, 1);
    const root = realpathSync(mkdtempSync(join(tmpdir(), "ak-pool-")));
    atEnd(context, () => rmSync(root, { recursive: true }));
    const source = join(root, "file");
    const binds = [{ source, target: "/in", mode: "ro" as const }];
    writeFileSync(source, "old");
    assert.equal(await run("cat /in", { binds }), "old");

    writeFileSync(`${source}.new`, "new");
    renameSync(`${source}.new`, source);

    assert.equal(await run("cat /in", { binds }), "new");
    assert.equal(poolMetrics().warm, 1);
  });

  test("that ended while they waited are not given a call", async (context) => {
    await withPool(context, 1);
    await run("true");
    let pids: number[] = [];
    await until("one sandbox", async () => {
      pids = await childrenOf(toolSpawner().pid);
      return pids.length === 1;
    });
    process.kill(pids[0]!, "SIGKILL");
    await until("no sandbox left", async () => (await childrenOf(toolSpawner().pid)).length === 0);

    assert.equal(await run("echo fine"), "fine\n");

    const { warm, cold, discarded } = poolMetrics();
    assert.deepEqual([warm, cold, discarded], [0, 2, 1]);
  });

  test("without a root are as many as wanted, serve calls of any kind, and are not used once they are gone", async (context) => {
    await configurePool({ size: 0, blanks: 2, profiles: 2, idleMs: 60_000 });
    atEnd(context, () => configurePool({ size: 0, blanks: 0, profiles: 2, idleMs: 60_000 }));
    const waiting = async (count: number): Promise<number[]> => {
      await until(
        `${count} sandboxes`,
        async () => (await childrenOf(toolSpawner().pid)).length === count,
      );
      return await childrenOf(toolSpawner().pid);
    };
    const [killed, used] = await waiting(2);
    process.kill(killed!, "SIGKILL");
    assert.deepEqual(await waiting(1), [used]);

    const outputs = await Promise.all(
      ["one", "two", "three"].map(
        async (hostname) => await run("hostname; ls /tmp; touch /tmp/left", { hostname }),
      ),
    );

    assert.deepEqual(outputs, ["one\n", "two\n", "three\n"]);
    const after = await waiting(2);
    assert.ok(!after.includes(used!), "a blank becomes one sandbox, once");
    await configurePool({ size: 0, blanks: 0, profiles: 2, idleMs: 60_000 });
    await waiting(0);
  });

  test("have no rights left where their call brings nothing to mount", async (context) => {
    await withPool(context, 1);
    await run("true");
    let pid: number | undefined;
    await until("a sandbox", async () => {
      [pid] = await childrenOf(toolSpawner().pid);
      return pid !== undefined;
    });
    await until("its filter", () =>
      /Seccomp:\t2/.test(readFileSync(`/proc/${pid}/status`, "utf8")),
    );

    assert.match(readFileSync(`/proc/${pid}/status`, "utf8"), /CapEff:\t0{16}\nCapBnd:\t0{16}/);
  });

  test("end when they waited too long, and all of them with the pool", async (context) => {
    await withPool(context, 2, 50);
    await run("true");
    await until("an empty pool", () => poolMetrics().waiting === 0);
    await until("no sandbox left", async () => (await childrenOf(toolSpawner().pid)).length === 0);

    await configurePool({ size: 2, blanks: 0, profiles: 2, idleMs: 60_000 });
    await run("true");
    await until("a full pool", () => poolMetrics().waiting === 2);
    await emptyPool();

    assert.deepEqual(await childrenOf(toolSpawner().pid), []);
  });
});
