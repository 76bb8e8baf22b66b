import assert from "node:assert/strict";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { LEASE_LIMITS } from "../../../src/agentlet/states/input-lease.ts";
import { openFakeAgentLab } from "../../helpers/fake-agent-lab.ts";

const PROMPT = { kind: "prompt", by: "a test", text: "busy 400" } as const;
const REASON = "whoever asked for it has gone";

suite("an act that is taken back, or ended with its program", { concurrency: false }, () => {
  test("is not typed when a person has the keyboard, and is told at once", async () => {
    await using lab = await openFakeAgentLab({ runtime: "ClaudeCode" });
    await lab.isState("idle");
    lab.interaction.lease.person(Buffer.from("x"), "0a".repeat(8), () => undefined);
    const [first, second] = ["a".repeat(16), "b".repeat(16)];
    const acts = [
      lab.interaction.handle({ ...PROMPT, request: first }),
      lab.interaction.handle({ ...PROMPT, request: second }),
    ];
    const from = performance.now();

    for (const request of [second, first])
      await lab.interaction.handle({ kind: "withdraw", request, reason: REASON });
    await Promise.all(acts);

    assert.ok(performance.now() - from < LEASE_LIMITS.personMs / 2);
    await timers.setTimeout(LEASE_LIMITS.personMs + 500);
    assert.deepEqual(
      lab.truths.filter(({ what }) => /pasted|submitted/.test(what)),
      [],
    );
    const told = lab.events.flatMap(({ event }) => (event.type === "act" ? [event] : []));
    assert.deepEqual(
      told.map(({ request, phase, message }) => [request, phase, message]),
      [
        [first, "accepted", "taken"],
        [second, "accepted", "taken"],
        [second, "refused", `Withdrawn: ${REASON}`],
        [first, "refused", `Withdrawn: ${REASON}`],
      ],
    );
    assert.equal((await lab.prompt("busy 1500")).phase, "done");
  });

  test("goes to its end once something of it was typed", async () => {
    await using lab = await openFakeAgentLab({ runtime: "ClaudeCode" });
    await lab.isState("idle");
    const request = "c".repeat(16);
    const act = lab.interaction.handle({ ...PROMPT, request });
    await lab.until("the prompt is typed", () => lab.truths.some(({ what }) => what === "pasted"));

    await lab.interaction.handle({ kind: "withdraw", request, reason: REASON });
    await act;

    const [, told] = lab.events.flatMap(({ event }) => (event.type === "act" ? [event] : []));
    assert.equal(told?.phase, "done");
  });

  test("is unconfirmed when something of it was typed, refused when not", async () => {
    await using lab = await openFakeAgentLab({
      runtime: "ClaudeCode",
      words: ["--swallow-enters", "9"],
    });
    await lab.isState("idle");
    const typed = lab.prompt("busy 100");
    const waiting = lab.prompt("busy 100");
    await lab.until("the prompt is typed", () =>
      lab.truths.some(({ what }) => what === "enter-swallowed"),
    );

    await lab.interaction.close();
    const outcomes = await Promise.all([typed, waiting, lab.prompt("busy 100")]);

    assert.deepEqual(
      outcomes.map(({ phase, message }) => [phase, message]),
      [
        ["unconfirmed", "it was typed; then: The program has ended"],
        ["refused", "The program has ended"],
        ["refused", "The program has ended"],
      ],
    );
  });
});
