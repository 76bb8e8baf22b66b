import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { Approver } from "../../../src/agentlet/states/approver.ts";
import { machineClock } from "../../../src/agentlet/states/clock.ts";
import { Interaction } from "../../../src/agentlet/states/interaction.ts";
import { driverOf } from "../../../src/agentlet/drivers/registry.ts";
import { RunStates } from "../../../src/agentlet/states/run-states.ts";
import type { AgentletEvent } from "../../../src/protocol/agentlet-link.ts";
import { until } from "../../helpers/until.ts";
import { drawTui } from "../../fixtures/tui-screens.ts";

/** OpenCode's dialog about a command, as it draws it. */
function dialogAbout(command: string): string[] {
  const { rows } = drawTui("OpenCode", {
    state: "permission",
    transcript: [],
    cols: 110,
    rows: 34,
  });
  return rows.map((row) => row.replaceAll("echo hi", command));
}

/** A CLI whose events are quicker than its screen, with a policy that allows all. */
function openQuickEvents(answeredBy: (typed: number) => void) {
  const screen = { rows: dialogAbout("first") };
  const typedInto: string[][] = [];
  const told: string[] = [];
  const emit = (event: AgentletEvent) => {
    if (event.type === "act") told.push(event.phase);
  };
  const view = () => ({ rows: screen.rows, title: "", cursor: null });
  const states = new RunStates({
    run: "run-x",
    rules: driverOf("OpenCode").rules,
    view,
    hasWriter: () => false,
    outputOffset: () => 0,
    screenOffset: () => 0,
    emit,
  });
  const interaction = new Interaction({
    states,
    rules: driverOf("OpenCode").rules,
    clock: machineClock,
    view,
    type: () => {
      typedInto.push(screen.rows);
      setTimeout(() => answeredBy(typedInto.length), 5);
      return true;
    },
    stranger: () => null,
    outputOffset: () => 0,
    emit,
    onHands: () => undefined,
    limits: { answeredMs: 200, presses: 1 },
  });
  const approver = new Approver({
    states,
    interaction,
    clock: machineClock,
    approvals: "allow",
    timeoutMs: 500,
    hasWriter: () => false,
    notice: (message) => told.push(message),
  });
  return {
    screen,
    typedInto,
    told,
    asks: (text: string) =>
      states.signal({
        channel: "event",
        state: "permission",
        evidence: "permission.asked",
        ask: { tool: "bash", text, detail: "", options: [] },
      }),
    goesOn: () =>
      states.signal({ channel: "event", state: "busy", evidence: "permission.replied" }),
    [Symbol.dispose]() {
      approver[Symbol.dispose]();
      void interaction.close();
      states[Symbol.dispose]();
    },
  };
}

suite("a policy that answers", () => {
  test("an ask that is told while the dialog before it still stands is answered in its own dialog", async () => {
    using cli = openQuickEvents((typed) => {
      cli.goesOn();
      if (typed === 1) cli.asks("second");
    });

    cli.asks("first");
    await until("the first answer", () => cli.told.includes("done"));
    const early = cli.typedInto.length;
    cli.screen.rows = dialogAbout("second");
    await until("the second answer", () => cli.told.length === 4);

    assert.equal(early, 1);
    assert.deepEqual(cli.typedInto, [dialogAbout("first"), dialogAbout("second")]);
    assert.deepEqual(cli.told, ["accepted", "done", "accepted", "done"]);
  });

  test("the same thing asked twice is answered twice", async () => {
    using cli = openQuickEvents((typed) => {
      cli.goesOn();
      if (typed === 1) cli.asks("second");
    });

    cli.asks("first");
    await until("both answers", () => cli.typedInto.length === 2);

    assert.deepEqual(cli.typedInto, [dialogAbout("first"), dialogAbout("first")]);
  });

  test("an ask that the policy could not answer is not forgotten: it waits for a person, and is refused in time", async () => {
    using cli = openQuickEvents(() => undefined);

    cli.asks("first");
    await until("the refusal", () => cli.told.length > 2);

    assert.deepEqual(cli.told.slice(0, 3), [
      "accepted",
      "unconfirmed",
      "Nobody answered within 500 ms (spec.approvalTimeout); what was asked is refused",
    ]);
  });
});
