// Many tool calls at once, of which some end badly, and what they leave: for the soak and for its short round among the attacks.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { TestContext } from "node:test";
import timers from "node:timers/promises";
import { processTree } from "../../src/kit/process-tree.ts";
import { runToolCall } from "../../src/tool-runner/run-tool-call.ts";
import { aRunner, aShellTool, never, type TestRunner } from "../tool-runner/support.ts";

const AT_ONCE = 50;
const CANCEL_AFTER_MS = 150;

/** How calls are made to end, in turn, and how each then must have ended. */
const KINDS = [
  { tool: "good", outcome: "completed" },
  { tool: "fails", outcome: "completed" },
  { tool: "crashes", outcome: "signalled" },
  { tool: "good", outcome: "completed" },
  { tool: "leaves", outcome: "completed" },
  { tool: "sleeps", outcome: "timed_out" },
  { tool: "good", outcome: "completed" },
  { tool: "prints", outcome: "killed_by_limit" },
  { tool: "good", outcome: "completed" },
  { tool: "waits", outcome: "cancelled" },
] as const;

const SLEEPS = "97".padEnd(6, String(process.pid));

/** What one process and those below it hold. */
interface Held {
  processes: number;
  descriptors: number;
  mounts: number;
  files: number;
}

export interface Round {
  held: Held;
  /** resident bytes of this process */
  memory: number;
}

export interface ManyCalls {
  /** Runs calls, 50 at a time, checks how each ended, and gives what is held when all are over. */
  readonly round: (calls: number) => Promise<Round>;
}

/** A runner with a real boundary and real sandboxes, in this process. */
export async function manyCalls(context: TestContext): Promise<ManyCalls> {
  const runner = await aRunner(
    context,
    [
      { ...aShellTool("echo good"), name: "good" },
      { ...aShellTool("exit 7"), name: "fails" },
      { ...aShellTool("kill -SEGV $$"), name: "crashes" },
      { ...aShellTool(`(setsid sleep ${SLEEPS} &); echo x > /tmp/x`), name: "leaves" },
      {
        ...aShellTool(`sleep ${SLEEPS}`, { sandbox: { timeout: "300ms" } }),
        name: "sleeps",
      },
      { ...aShellTool("yes", { sandbox: { limits: { output: "64Ki" } } }), name: "prints" },
      { ...aShellTool(`sleep ${SLEEPS}`), name: "waits" },
    ],
    { queue: { running: AT_ONCE, waiting: AT_ONCE } },
  );
  return {
    async round(calls) {
      let next = 0;
      const worker = async (): Promise<void> => {
        for (let number = next++; number < calls; number = next++) await oneCall(runner, number);
      };
      await Promise.all(Array.from({ length: AT_ONCE }, worker));
      // Kept by the test alone: the product hands each record on.
      assert.equal(runner.records.filter(({ type }) => type === "call").length, calls);
      runner.records.length = 0;
      runner.marks.length = 0;
      return { held: await heldAtRest(runner), memory: process.memoryUsage.rss() };
    },
  };
}

async function oneCall(runner: TestRunner, number: number): Promise<void> {
  const { tool, outcome } = KINDS[number % KINDS.length]!;
  const caller = tool === "waits" ? AbortSignal.timeout(CANCEL_AFTER_MS) : never;
  const result = await runToolCall(
    runner,
    { tool, operation: "go", arguments: {}, face: "mcp" },
    caller,
  );
  assert.equal(result.outcome, outcome, `call ${number}: ${JSON.stringify(result)}`);
  if (tool === "good") assert.equal(result.stdout, "good\n", `call ${number}`);
}

/** What is held once it no longer changes: the last sandboxes' descriptors close in the next turns of the loop. */
async function heldAtRest(runner: TestRunner): Promise<Held> {
  let before = await heldNow(runner);
  for (let look = 0; look < 40; look += 1) {
    await timers.setTimeout(50);
    const now = await heldNow(runner);
    if (JSON.stringify(now) === JSON.stringify(before)) return now;
    before = now;
  }
  return before;
}

async function heldNow(runner: TestRunner): Promise<Held> {
  const { pids } = await processTree(process.pid);
  const lines = (file: string): number => readFileSync(file, "utf8").split("\n").length;
  const held = { processes: pids.length, descriptors: 0, mounts: 0, files: 0 };
  for (const pid of pids) {
    if (!existsSync(`/proc/${pid}/fd`)) continue;
    held.descriptors += readdirSync(`/proc/${pid}/fd`).length;
    held.mounts += lines(`/proc/${pid}/mountinfo`);
  }
  for (const directory of [runner.callsDir, runner.keepDir])
    if (existsSync(directory)) held.files += readdirSync(directory, { recursive: true }).length;
  return held;
}

/** Fails when a later round holds more than an earlier one did. Descriptors of timers and workers of Node's own come and go. */
export function assertNothingLeaked(first: Round, last: Round, moreMemory: number): void {
  assert.deepEqual(
    { ...last.held, descriptors: 0 },
    { ...first.held, descriptors: 0 },
    "processes, mounts or files are left",
  );
  const descriptors = last.held.descriptors - first.held.descriptors;
  assert.ok(descriptors <= 2, `${descriptors} descriptors are left`);
  const memory = last.memory - first.memory;
  assert.ok(memory <= moreMemory, `${Math.round(memory / 1e6)} MB more than before`);
}
