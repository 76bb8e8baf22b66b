import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { machineClock } from "../../../src/agentlet/states/clock.ts";
import { Controls } from "../../../src/agentlet/states/controls.ts";
import { RunStates } from "../../../src/agentlet/states/run-states.ts";
import { submitPrompt } from "../../../src/agentlet/states/submit-prompt.ts";
import type { Signal } from "../../../src/agentlet/states/signal.ts";

const view = () => ({ rows: [], title: "", cursor: null, takesPaste: true });

/** Types a prompt into a CLI that becomes `meanwhile` before Enter, and idle again after `forMs`; what was typed, and in which state. */
async function typedInto(meanwhile: Signal["state"] | "editor", forMs: number) {
  using states = new RunStates({
    run: "it",
    rules: null,
    view,
    hasWriter: () => false,
    outputOffset: () => 0,
    screenOffset: () => 0,
    emit: () => undefined,
  });
  const say = (state: Signal["state"]): void =>
    states.signal({ channel: "hook", state, evidence: "the test" });
  const typed: string[] = [];
  let stranger: string | null = null;
  let later: NodeJS.Timeout | undefined;
  using controls = new Controls({
    states,
    rules: null,
    clock: machineClock,
    view,
    stranger: () => stranger,
    limits: { answeredMs: 500 },
    type(bytes) {
      const keys = bytes.toString();
      typed.push(`${states.standing.state}: ${JSON.stringify(keys)}`);
      if (keys === "\r") say("busy");
      else if (meanwhile === "editor") stranger = "vim";
      else say(meanwhile);
      later ??= setTimeout(() => {
        stranger = null;
        say("idle");
      }, forMs);
      return true;
    },
  });
  say("idle");
  const { phase, message } = await submitPrompt(controls, "do it");
  clearTimeout(later);
  return { phase, message, typed };
}

const PASTE = String.raw`idle: "\u001b[200~do it\u001b[201~"`;

suite("the Enter of a prompt", () => {
  for (const meanwhile of ["busy", "permission"] as const)
    test(`waits for the composer when the CLI is ${meanwhile} before it is pressed`, async () => {
      const { phase, typed } = await typedInto(meanwhile, 250);

      assert.equal(phase, "done");
      assert.deepEqual(typed, [PASTE, String.raw`idle: "\r"`]);
    });

  test("is not pressed into another program that has taken the terminal, and is once that has gone", async () => {
    const stays = await typedInto("editor", 60_000);
    const goes = await typedInto("editor", 250);

    assert.deepEqual([stays.phase, stays.typed], ["unconfirmed", [PASTE]]);
    assert.match(stays.message, /another program took the terminal \(vim\) before Enter/);
    assert.deepEqual([goes.phase, goes.typed], ["done", [PASTE, String.raw`idle: "\r"`]]);
  });

  test("is not pressed into what stays there instead of the composer, and that is said", async () => {
    const { phase, message, typed } = await typedInto("permission", 60_000);

    assert.equal(phase, "unconfirmed");
    assert.match(message, /became permission before Enter was pressed/);
    assert.deepEqual(typed, [PASTE]);
  });
});
