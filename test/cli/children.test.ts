import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { Child, KeptChild, type ChildOptions } from "../../src/cli/children.ts";
import { silentLog } from "../../src/kit/log.ts";
import type { ChildStatus } from "../../src/protocol/child-status.ts";

/** A child that does what its boot says, and writes down each boot and command that it gets. */
const PROGRAM = `
import { appendFileSync } from "node:fs";
import { createInterface } from "node:readline";
const lines = createInterface({ input: process.stdin });
let boot;
lines.on("line", (line) => {
  const said = JSON.parse(line);
  appendFileSync(process.env.AGENTKUBE_RUN_SPEC, line + "\\n");
  if (boot === undefined) {
    boot = said;
    if (boot.exit !== undefined) process.exit(boot.exit);
    console.log(JSON.stringify(boot.says ?? { kind: "ready" }));
    if (boot.dieAfterMs !== undefined) setTimeout(() => process.kill(process.pid, "SIGKILL"), boot.dieAfterMs);
  }
});
lines.on("close", () => { if (boot.ignoresEnd !== true) process.exit(0); else setInterval(() => {}, 1000); });
`;

let dir = "";
let count = 0;
before(() => {
  dir = mkdtempSync(join(tmpdir(), "agentkube-children-"));
  writeFileSync(join(dir, "child.mjs"), PROGRAM);
});
after(() => rmSync(dir, { recursive: true }));

function options(boot: unknown): ChildOptions & { heard: ChildStatus[]; lines: () => string[] } {
  count += 1;
  const specPath = join(dir, `heard-${count}`);
  const heard: ChildStatus[] = [];
  return {
    verb: "tool-runner",
    boot,
    self: [process.execPath, join(dir, "child.mjs")],
    env: { PATH: "/usr/bin:/bin", SECRET: "hunter2" },
    specPath,
    logPath: join(dir, `log-${count}`),
    log: silentLog,
    onStatus: (status) => heard.push(status),
    heard,
    lines: () => readFileSync(specPath, "utf8").trim().split("\n"),
  };
}

suite("Child", () => {
  test("is ready when it says so, hears commands, and ends when its input ends", async () => {
    const told = options({ token: "t" });
    const child = new Child(told);
    await child.ready;

    child.command({ kind: "stop", reason: "cancelled" });
    child.closeInput();

    assert.equal(await child.exited, "ended with code 0");
    assert.deepEqual(told.lines(), ['{"token":"t"}', '{"kind":"stop","reason":"cancelled"}']);
  });

  test("a fault before it is ready is what ready rejects with", async () => {
    const says = { kind: "fault", code: "native_missing", message: "Native part is not built" };

    const child = new Child(options({ says }));

    await assert.rejects(child.ready, { code: "native_missing", message: says.message });
    child.kill();
    await child.exited;
  });

  test("an end before it is ready names the program, the way it ended and its log", async () => {
    const told = options({ exit: 7 });

    await assert.rejects(new Child(told).ready, (error: Error & { path?: string }) => {
      assert.match(error.message, /tool-runner ended with code 7/);
      assert.equal(error.path, told.logPath);
      return true;
    });
  });

  test("a child that speaks another language is ended", async () => {
    const child = new Child(options({ says: { kind: "hello" } }));

    await assert.rejects(child.ready, /SIGKILL/);
  });
});

suite("KeptChild", () => {
  test("starts again with the same boot, and ends when asked", async () => {
    const restarted = Promise.withResolvers<void>();
    const told = options({ dieAfterMs: 50 });
    const kept = new KeptChild({
      ...told,
      onLost: () => assert.fail("lost"),
      onRestart: () => restarted.resolve(),
    });
    await kept.ready;
    await restarted.promise;
    await kept.ready;

    await kept.end(5000);

    assert.deepEqual(told.lines(), ['{"dieAfterMs":50}', '{"dieAfterMs":50}']);
  });

  test("is told again what to mask when it is started again", async () => {
    const restarted = Promise.withResolvers<void>();
    const boot = { dieAfterMs: 300 };
    const told = options(boot);
    const redact = { kind: "redact" as const, values: ["b25lIHR3bw=="] };
    const kept = new KeptChild({
      ...told,
      onLost: () => assert.fail("lost"),
      onRestart: () => restarted.resolve(),
    });
    await kept.ready;
    kept.command(redact);
    await restarted.promise;
    await kept.ready;

    await kept.end(5000);

    const life = [boot, redact].map((line) => JSON.stringify(line));
    assert.deepEqual(told.lines(), [...life, ...life]);
  });

  test("is lost after the sixth death in a minute", async () => {
    const told = options({ exit: 1 });
    const lost = Promise.withResolvers<string>();
    const kept = new KeptChild({ ...told, onLost: lost.resolve });
    kept.ready.catch(() => {});

    assert.match(await lost.promise, /6th time/);
    await kept.gone;
    assert.equal(told.lines().length, 6);
  });

  test("is killed when it does not end in time", async () => {
    const kept = new KeptChild({
      ...options({ ignoresEnd: true }),
      onLost: () => assert.fail("lost"),
    });
    await kept.ready;

    await kept.end(100);
  });
});
