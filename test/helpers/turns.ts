import assert from "node:assert/strict";
import type { TuiRuntime } from "../fixtures/tui-screens.ts";
import { openFakeAgentLab } from "./fake-agent-lab.ts";

/** What a series of turns showed, all times in ms. */
export interface TurnTimes {
  turns: number;
  /** `idle` told while the agent itself said otherwise */
  falseIdle: string[];
  /** from the agent's own word to the event */
  turnEnd: number[];
  permission: number[];
  /** turns so short, or a machine so busy, that the screen never showed them as busy */
  unseen: number;
  /** from the command to Enter taken by the agent */
  submitted: number[];
  /** prompts told as done that the agent never had, or had twice */
  falselyDelivered: number;
}

/** Has the fake agent do turns of many kinds and compares what was seen of it with what it said of itself. */
export async function watchTurns(
  runtime: TuiRuntime,
  turns: number,
  given: { hooks?: boolean; words?: string[]; seed?: number } = {},
): Promise<TurnTimes> {
  const { seed = 1, ...options } = given;
  await using lab = await openFakeAgentLab({ runtime, ...options });
  await lab.isState("idle");
  const times: TurnTimes = {
    turns,
    falseIdle: [],
    turnEnd: [],
    permission: [],
    unseen: 0,
    submitted: [],
    falselyDelivered: 0,
  };
  const random = randomOf(seed);
  for (let turn = 0; turn < turns; turn++) {
    const from = lab.truths.length;
    const asks = random() < 0.3;
    const busy = () => `busy ${Math.round(100 + random() * 300)}`;
    const middle = random() < 0.3 ? "silent 700 " : random() < 0.2 ? "quote " : "";
    const prompt = `${busy()} ${middle}${asks ? `ask ${busy()} ` : ""}${busy()} turn ${turn}`;
    const events = lab.events.length;
    const act = await lab.prompt(prompt);
    assert.notEqual(act.phase, "refused", `${runtime} turn ${turn}: ${act.message}`);
    if (asks) {
      await lab.isState("permission");
      await lab.answer("allow");
    }
    await lab.until(
      "the end of the turn",
      () =>
        lab.truths.slice(from).some(({ what }) => what === "idle") &&
        lab.states.standing.state === "idle",
    );
    const told = lab.truths.slice(from);
    const seen = lab.events.slice(events);
    const stateAt = (state: string, after: number) =>
      seen.find(
        ({ atMs, event }) => event.type === "state" && event.state === state && atMs >= after,
      )?.atMs;
    const sent = told.filter(({ what, prompt: got }) => what === "submitted" && got === prompt);
    if (act.phase === "done" && sent.length !== 1) times.falselyDelivered += 1;
    const accepted = seen.find(({ event }) => event.type === "act" && event.phase === "accepted");
    if (accepted !== undefined && sent[0] !== undefined)
      times.submitted.push(sent[0].atMs - accepted.atMs);
    const asked = told.find(({ what }) => what === "permission");
    if (asked !== undefined)
      times.permission.push((stateAt("permission", asked.atMs - 1) ?? Infinity) - asked.atMs);
    const over = told.findLast(({ what }) => what === "idle");
    const wasBusy = seen.some(({ event }) => event.type === "state" && event.state === "busy");
    if (!wasBusy) times.unseen += 1;
    else if (over !== undefined)
      times.turnEnd.push((stateAt("idle", over.atMs - 1) ?? Infinity) - over.atMs);
    for (const { atMs, event } of seen) {
      if (event.type !== "state" || event.state !== "idle") continue;
      // The agent says so just before it draws it.
      const truth = lab.truths.findLast((each) => STATES.has(each.what) && each.atMs <= atMs + 1);
      if (truth?.what !== "idle")
        times.falseIdle.push(`turn ${turn} (${prompt}): ${event.evidence} while ${truth?.what}`);
    }
  }
  return times;
}

const STATES = new Set(["idle", "busy", "permission", "question"]);

/** Numbers from 0 to 1, the same each time. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

export function quantileOf(values: number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Infinity;
}
