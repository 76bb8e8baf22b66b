import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, suite, test } from "node:test";
import { until } from "../helpers/until.ts";
import { childrenOf } from "../../src/kit/process-tree.ts";
import type { aRunSpec } from "./run-spec.ts";
import type { SmallRecorder } from "./small-recorder.ts";
import { BOOT, openSmallRun, type SmallRun } from "./small-run.ts";

const program = new URL("../../src/agentlet/main.ts", import.meta.url).href;

suite("the agentlet as a process", () => {
  let small: SmallRun;
  let directory: string;
  let recorder: SmallRecorder;
  beforeEach(async () => {
    small = await openSmallRun();
    ({ directory, recorder } = small);
  });
  afterEach(async () => {
    await small[Symbol.asyncDispose]();
  });

  const start = async (
    script: string,
    agent: NonNullable<Parameters<typeof aRunSpec>[0]>["agent"] = {},
  ) => {
    const spec = small.spec(script, { agent });
    const path = join(directory, "spec.json");
    await writeFile(path, JSON.stringify(spec));
    const child = spawn(
      process.execPath,
      [
        "--input-type=module",
        "-e",
        `const m = await import(${JSON.stringify(program)}); process.exitCode = await m.main();`,
      ],
      {
        env: { PATH: process.env["PATH"], AGENTKUBE_RUN_SPEC: path },
        stdio: ["pipe", "pipe", "pipe"],
      },
    );
    let said = "";
    let log = "";
    child.stdout.on("data", (text: Buffer) => (said += text.toString()));
    child.stderr.on("data", (text: Buffer) => (log += text.toString()));
    child.stdin.on("error", () => undefined);
    const exited = once(child, "exit");
    return {
      child,
      lines: () =>
        said
          .split("\n")
          .filter((line) => line !== "")
          .map((line): unknown => JSON.parse(line)),
      log: () => log,
      boot: () => child.stdin.write(`${JSON.stringify(BOOT)}\n`),
      exited,
    };
  };

  test("says ready and ended, and ends by itself", async () => {
    const agentlet = await start("exit 5");

    agentlet.boot();
    const [code] = (await agentlet.exited) as [number];

    assert.equal(code, 0);
    assert.deepEqual(agentlet.lines(), [
      { kind: "ready" },
      { kind: "ended", end: { outcome: "failed", reason: "exited", exitCode: 5, signal: null } },
    ]);
    assert.ok(!agentlet.log().includes("lllll") && !agentlet.log().includes("aaaaa"));
  });

  test("ends the run as agentlet_fault, and zone A with it, when the supervisor is gone", async () => {
    const agentlet = await start("echo on; while :; do sleep 0.1; done");
    agentlet.boot();
    await until("the program is on", () => recorder.output().includes("on"));

    agentlet.child.stdin.end();
    await agentlet.exited;

    assert.equal((agentlet.lines()[1] as { end: { reason: string } }).end.reason, "agentlet_fault");
    assert.deepEqual(await childrenOf(process.pid), []);
  });

  test("leaves no process of zone A behind when it is killed itself", async () => {
    const agentlet = await start(
      "trap '' HUP INT TERM; echo on; setsid sleep 299 & while :; do sleep 0.1; done",
    );
    agentlet.boot();
    await until("the program is on", () => recorder.output().includes("on"));
    const [outer = 0] = await childrenOf(agentlet.child.pid ?? 0);

    agentlet.child.kill("SIGKILL");
    await agentlet.exited;

    const isGone = async () =>
      (await readFile(`/proc/${outer}/stat`, "latin1").catch(() => "")) === "";
    for (let i = 0; i < 100 && !(await isGone()); i++)
      await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(await isGone(), true);
  });

  test("SIGTERM is a stop", async () => {
    const agentlet = await start("trap 'exit 0' INT; echo on; while :; do sleep 0.05; done");
    agentlet.boot();
    await until("the program is on", () => recorder.output().includes("on"));

    agentlet.child.kill("SIGTERM");
    const [code] = (await agentlet.exited) as [number];

    assert.equal(code, 0);
    assert.equal((agentlet.lines()[1] as { end: { outcome: string } }).end.outcome, "cancelled");
  });
});
