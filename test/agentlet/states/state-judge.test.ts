import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { RecordedClock } from "../../../src/agentlet/states/clock.ts";
import type { Signal, SignalChannel } from "../../../src/agentlet/states/signal.ts";
import { StateJudge } from "../../../src/agentlet/states/state-judge.ts";
import type { Standing } from "../../../src/agentlet/states/state-judge.ts";

function openJudge() {
  const clock = new RecordedClock();
  const changes: Standing[] = [];
  const dead: string[] = [];
  const judge = new StateJudge({
    clock,
    outputOffset: () => 7,
    onChange: (standing) => changes.push(standing),
    onDeadChannel: (message) => dead.push(message),
  });
  const say = (channel: SignalChannel, state: Signal["state"], more: Partial<Signal> = {}) =>
    judge.signal({ channel, state, evidence: `${channel} says`, ...more });
  const told = () => changes.map(({ state, channel, atMs }) => `${atMs} ${state} ${channel}`);
  return { clock, judge, say, told, dead, changes };
}

suite("StateJudge", () => {
  test("a hook is believed at once, and the screen that lags behind it is not", () => {
    const { clock, say, told, dead } = openJudge();

    say("hook", "busy");
    clock.advanceTo(50);
    say("screen", "busy");
    clock.advanceTo(1000);
    say("hook", "idle");
    clock.advanceTo(1400);
    say("screen", "idle");
    clock.advanceTo(10_000);

    assert.deepEqual(told(), ["0 busy hook", "1000 idle hook"]);
    assert.deepEqual(dead, []);
  });

  test("a hook that stays silent is overruled by a screen that goes on contradicting it, and that is said once", () => {
    const { clock, say, told, dead } = openJudge();

    say("hook", "busy");
    say("title", "busy");
    clock.advanceTo(2000);
    say("screen", "idle");
    clock.advanceTo(3499);
    assert.deepEqual(told(), ["0 busy hook"]);
    clock.advanceTo(4000);
    say("title", "busy");
    say("screen", "idle");
    clock.advanceTo(9000);

    assert.deepEqual(told(), [
      "0 busy hook",
      "3500 idle screen",
      "4000 busy title",
      "4000 idle screen",
    ]);
    assert.equal(dead.length, 1);
    assert.match(dead[0] ?? "", /hook channel still says busy while the screen says idle/);
  });

  test("a screen that rested idle before the hook said busy does not take the new turn back while it may not be drawn yet", () => {
    const { clock, say, told } = openJudge();

    say("screen", "idle");
    clock.advanceTo(500);
    say("hook", "busy");
    clock.advanceTo(9000);
    say("title", "busy");
    clock.advanceTo(30_000);
    assert.deepEqual(told(), ["0 idle screen", "500 busy hook"]);

    say("title", "idle");
    clock.advanceTo(40_000);
    say("hook", "busy");
    clock.advanceTo(60_000);
    assert.deepEqual(told().slice(2), ["31500 idle title", "40000 busy hook", "50000 idle title"]);
  });

  test("what goes from a screen that looks idle, as an interruption's words do, is no news of the turn", () => {
    const { clock, say, told } = openJudge();

    say("screen", "idle", { endsTurn: true });
    clock.advanceTo(500);
    say("hook", "busy");
    clock.advanceTo(600);
    say("screen", "idle");
    clock.advanceTo(9000);
    say("screen", "idle");
    clock.advanceTo(10_400);
    assert.deepEqual(told(), ["0 idle screen", "500 busy hook"]);

    clock.advanceTo(20_000);
    assert.deepEqual(told().slice(2), ["10500 idle screen"]);
  });

  test("an interruption ends a turn at once also when the turn was never drawn", () => {
    const { clock, say, told } = openJudge();

    say("screen", "idle");
    clock.advanceTo(500);
    say("hook", "busy");
    clock.advanceTo(600);
    say("screen", "idle", { endsTurn: true });

    assert.deepEqual(told(), ["0 idle screen", "500 busy hook", "600 idle screen"]);
  });

  test("an interruption that only the screen tells ends the turn at once", () => {
    const { clock, say, told, dead } = openJudge();

    say("hook", "busy");
    say("title", "busy");
    clock.advanceTo(100);
    say("screen", "idle", { endsTurn: true });

    assert.deepEqual(told(), ["0 busy hook", "100 idle screen"]);
    assert.deepEqual(dead, []);
  });

  test("after an answer the composer may stand there before the turn is seen to go on: that is not idle", () => {
    const { clock, say, told, dead } = openJudge();

    say("hook", "permission");
    clock.advanceTo(100);
    say("screen", "permission");
    clock.advanceTo(2000);
    say("screen", "idle");
    clock.advanceTo(3000);
    say("title", "busy");
    clock.advanceTo(9000);

    assert.deepEqual(told(), ["0 permission hook", "3000 busy title"]);
    assert.deepEqual(dead, []);
  });

  test("unknown overrules nobody, and never becomes idle", () => {
    const { clock, say, told } = openJudge();

    say("hook", "busy");
    say("screen", "unknown");
    clock.advanceTo(60_000);

    assert.deepEqual(told(), ["0 busy hook"]);
  });

  test("an ask keeps its number while channels add to it, and the next one has another", () => {
    const { clock, say, changes } = openJudge();
    const ask = { tool: "Bash", text: "", detail: "rm x", options: [] };
    const options = [{ key: "1", label: "Yes" }];

    say("hook", "permission", { ask });
    clock.advanceTo(80);
    say("screen", "permission", {
      ask: { tool: null, text: "Do you?", detail: "$ rm x", options },
    });
    clock.advanceTo(500);
    say("screen", "busy");
    say("hook", "permission", { ask: { ...ask, detail: "rm y" } });

    assert.deepEqual(
      changes.map(({ state, ask: asked }) => [
        state,
        asked?.id,
        asked?.detail,
        asked?.options.length,
      ]),
      [
        ["permission", 1, "rm x", 0],
        ["permission", 1, "rm x", 1],
        ["busy", undefined, undefined, undefined],
        ["permission", 2, "rm y", 0],
      ],
    );
  });

  test("a screen that never saw a dialog cannot say that it is gone", () => {
    const { clock, say, told } = openJudge();

    say("screen", "busy");
    say("hook", "permission");
    clock.advanceTo(500);
    say("title", "busy");
    clock.advanceTo(60_000);

    assert.deepEqual(told(), ["0 busy screen", "0 permission hook"]);
  });

  test("nothing moves the state after the program has exited", () => {
    const { clock, judge, say, told } = openJudge();

    say("hook", "busy");
    say("screen", "idle");
    judge.process("exited", "exited with 0");
    say("hook", "idle");
    clock.advanceTo(60_000);

    assert.deepEqual(told(), ["0 busy hook", "0 exited process"]);
  });
});
