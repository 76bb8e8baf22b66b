// What is shown of every CLI in its own terminal, from a fresh HOME to nothing left behind.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import path from "node:path";
import timers from "node:timers/promises";
import { driverOf } from "../../src/agentlet/drivers/registry.ts";
import type { Runtime } from "../../src/protocol/runtimes.ts";
import { LONG_MS, MODEL_KEY, openSession, TOOL_SAYS } from "./session.ts";
import type { Session, StateEvent } from "./session.ts";

export interface Script {
  runtime: Runtime;
  /** directive that calls a tool of the CLI's own which needs permission: `[[tool NAME {…}]]` */
  asks: string;
  /** keys that allow it, once for each time it asks */
  allow: string;
  /** how often this CLI asks for it */
  times?: number;
  /** true when only the title tells that it asks, so that nobody knows when its dialog is drawn */
  titleOnly?: boolean;
  /** true when a second dialog looks like the first, so that no event tells of it */
  sameDialog?: boolean;
  /** false for a CLI without hooks, whose screen may not be looked at before it asks; true unless given */
  busyFirst?: boolean;
  /** keys that interrupt a turn, one after the other */
  interrupt: string[];
  /** keys that make it leave, when they are not its driver's */
  quit?: readonly string[];
  /** which channel sees each of these; of an interruption the screen may be the first to tell */
  channels: {
    permission: StateEvent["channel"];
    done: StateEvent["channel"];
    interrupted: StateEvent["channel"][];
  };
  spec?: object;
  model?: object;
}

const FIRST = "[[say That was all.]]";
const SECOND = "[[slow 30000]] [[say one two three four five six seven eight nine ten]]";

/** Plays the whole script with the real CLI; every step's evidence is asserted. */
export async function playThrough(script: Script): Promise<void> {
  const { runtime, asks, allow, times = 1, busyFirst = true, interrupt, channels } = script;
  const sameDialog = script.sameDialog ?? false;
  await using session = await openSession({
    runtime,
    goal: `${asks} [[tool *clock_run {}]] ${FIRST}`,
    ...(script.spec === undefined ? {} : { spec: script.spec }),
    ...(script.model === undefined ? {} : { model: script.model }),
  });

  // A fresh HOME, no dialog, and the goal at the model: that is the second channel.
  let at = 0;
  for (let asked = 0; asked < (sameDialog ? 1 : times); asked++) {
    const permission = await session.waitFor(({ state }) => state === "permission", at);
    assert.equal(permission.channel, channels.permission);
    const states = await session.states();
    at = indexOf(states, permission) + 1;
    assert.ok(
      !states.slice(0, at).some(({ state }) => state === "blocked" || state === "question"),
    );
    if (asked === 0) {
      assert.ok(
        !busyFirst || states.slice(0, at).some(({ state }) => state === "busy"),
        "busy before it asks",
      );
      assert.ok(session.promptsSeen("That was all.") >= 1, "the goal reached the model");
      assertOnlyOneKeyIn(session);
    }
    if (script.titleOnly === true) await timers.setTimeout(2000);
    else await isDrawn(session, permission);
    await allowOnce(session, allow, permission);
  }
  // Between dialogs that look the same nothing is seen; Enter at a prompt that is empty does nothing.
  for (let again = 0; again < (sameDialog ? 30 : 0) && !(await isIdle(session, at)); again++) {
    await timers.setTimeout(2500);
    await session.type(allow);
  }
  const done = await session.waitFor(({ state }) => state === "idle", at);
  assert.equal(done.channel, channels.done, session.acts().join("\n"));
  at = indexOf(await session.states(), done) + 1;
  assert.ok(session.promptsSeen(TOOL_SAYS) >= 1, "the tool's result is back at the model");

  // A later prompt, and an interruption in the middle of its answer.
  await timers.setTimeout(1000);
  await session.prompt(SECOND);
  for (let presses = 0; presses < 3 && session.promptsSeen("one two three") === 0; presses++) {
    await timers.setTimeout(3000);
    if (session.promptsSeen("one two three") === 0) await session.type("\r");
  }
  const busy = await session.waitFor(({ state }) => state === "busy", at);
  at = indexOf(await session.states(), busy) + 1;
  await until(() => session.promptsSeen("one two three") >= 1, "the second prompt at the model");
  await timers.setTimeout(1000);
  for (const key of interrupt) {
    await session.type(key);
    await timers.setTimeout(300);
  }
  const interrupted = await session.waitFor(({ state }) => state === "idle", at);
  assert.ok(channels.interrupted.includes(interrupted.channel), interrupted.channel);

  // It leaves by itself, and nothing is left of it. A key that comes while it still tidies up its broken turn may be lost.
  const ended = session.ended();
  for (let presses = 0, left = false; presses < 3 && !left; presses++) {
    for (const key of script.quit ?? [driverOf(runtime).rules.quitKeys ?? "\x03"]) {
      await timers.setTimeout(500);
      await session.type(key);
    }
    left = await Promise.race([ended.then(() => true), timers.setTimeout(10_000, false)]);
  }
  const { result, end } = await ended;
  assert.deepEqual([result.outcome, result.exitCode], ["succeeded", 0], end.text);
  assert.deepEqual(
    result.calls.map(({ tool, outcome }) => [tool, outcome]),
    [["clock", "completed"]],
  );
  assert.equal(result.recording?.verified, true);
  const recording = readFileSync(result.recording?.path ?? "", "utf8");
  assert.ok(!recording.includes(MODEL_KEY));
  assert.ok(session.model.requests.every(({ key }) => key === MODEL_KEY));
  assert.deepEqual(await session.lab.leftovers(), []);
}

/** A hook tells before the dialog is drawn; its options are read off the screen. */
async function isDrawn(session: Session, { ask }: StateEvent): Promise<void> {
  const options = (state: StateEvent) =>
    state.ask?.id === ask?.id ? (state.ask?.options.length ?? 0) : 0;
  await session.waitFor((state) => options(state) > 0);
}

/** Presses the key, and again when nothing comes of it, as a person would. */
async function allowOnce(session: Session, allow: string, { ask }: StateEvent): Promise<void> {
  const isOver = (state: StateEvent) => state.ask?.id !== ask?.id;
  const from = (await session.states()).findIndex((state) => state.ask?.id === ask?.id);
  for (let presses = 0; presses < 3; presses++) {
    await session.type(allow);
    for (let waited = 0; waited < 10_000; waited += 100) {
      if ((await session.states()).slice(from).some(isOver)) return;
      await timers.setTimeout(100);
    }
  }
}

async function isIdle(session: Session, from: number): Promise<boolean> {
  return (await session.states()).slice(from).some(({ state }) => state === "idle");
}

function indexOf(states: StateEvent[], event: StateEvent): number {
  return states.findIndex(({ time, state }) => time === event.time && state === event.state);
}

async function until(fits: () => boolean, what: string): Promise<void> {
  for (let waited = 0; !fits(); waited += 50) {
    if (waited > LONG_MS) throw new Error(`Waited in vain for ${what}`);
    await timers.setTimeout(50);
  }
}

/** Looks through environments, arguments and private files of everything in zone A. */
export function assertOnlyOneKeyIn(session: Session): void {
  const own = readlinkSync("/proc/self/ns/pid");
  const inside = session.lab
    .processes()
    .map(({ pid }) => pid)
    .filter((pid) => namespaceOf(pid) !== null && namespaceOf(pid) !== own);
  let tokens = 0;
  for (const pid of inside) {
    const roots = ["home/agent", "tmp", "run"].map((dir) => `/proc/${pid}/root/${dir}`);
    const files = [`/proc/${pid}/environ`, `/proc/${pid}/cmdline`, ...roots.flatMap(filesBelow)];
    for (const file of files) {
      const text = readOrEmpty(file);
      if (text.includes("AGENTKUBE_AGENT_TOKEN=")) tokens += 1;
      assert.ok(!text.includes(MODEL_KEY), `the model key is in ${file}`);
      assert.ok(!text.includes(Buffer.from(MODEL_KEY).toString("base64").slice(0, 48)), file);
    }
  }
  // The search is blind when it does not even find what must be there.
  assert.ok(tokens > 0, "the agent's own token was not found in zone A");
}

function namespaceOf(pid: number): string | null {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return null;
  }
}

function filesBelow(dir: string): string[] {
  try {
    return readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(entry.parentPath, entry.name));
  } catch {
    return [];
  }
}

function readOrEmpty(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return "";
  }
}
