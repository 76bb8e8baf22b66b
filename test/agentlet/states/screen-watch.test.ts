import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { RecordedClock } from "../../../src/agentlet/states/clock.ts";
import { Controls } from "../../../src/agentlet/states/controls.ts";
import { RunStates } from "../../../src/agentlet/states/run-states.ts";
import type { RuleSet } from "../../../src/agentlet/states/screen-rule.ts";
import { ScreenWatch } from "../../../src/agentlet/states/screen-watch.ts";
import { until } from "../../helpers/until.ts";

const RULES: RuleSet = {
  runtime: "Test",
  restingUnknownIsBlocked: true,
  version: /^Test (\d+\.\d+)$/,
  rules: [
    { name: "dialog", state: "permission", tail: [/^Proceed\?$/] },
    { name: "old busy", state: "busy", versions: "<2.1", tail: [/^Working$/] },
    { name: "prompt", state: "idle", tail: [/^>$/] },
  ],
};

function openWatch() {
  const clock = new RecordedClock();
  const view = { rows: [">"], title: "", cursor: null, inFrame: false };
  const seen: [number, string][] = [];
  const watch = new ScreenWatch({
    rules: RULES,
    view: () => view,
    clock,
    outputOffset: () => 0,
    signal: ({ state }) => seen.push([clock.now(), state]),
  });
  return { clock, view, seen, watch };
}

suite("a screen that is looked at", () => {
  test("is not read inside a frame that the program marks, nor before its output has rested", () => {
    const { clock, view, seen, watch } = openWatch();
    using _ = watch;

    // Half of a frame looks like a dialog, and the program takes its time for the other half.
    view.rows = ["Proceed?"];
    view.inFrame = true;
    watch.touched();
    clock.advanceTo(180);
    view.rows = ["all of it", ">"];
    view.inFrame = false;
    watch.touched();
    // Another one in pieces of a few milliseconds, not marked.
    for (let atMs = 1000; atMs < 1120; atMs += 10) {
      clock.advanceTo(atMs);
      view.rows = ["Proceed?"];
      watch.touched();
    }
    view.rows = ["all of it", ">"];
    watch.touched();
    clock.advanceTo(2000);

    assert.deepEqual(seen, [[480, "idle"]]);
  });

  test("is read all the same when output never rests and when a frame is never closed", () => {
    for (const inFrame of [false, true]) {
      const { clock, view, seen, watch } = openWatch();
      using _ = watch;
      view.rows = ["Proceed?"];
      view.inFrame = inFrame;

      for (let atMs = 0; atMs <= 400; atMs += 10) {
        clock.advanceTo(atMs);
        if (!inFrame || atMs === 0) watch.touched();
      }

      assert.deepEqual(seen, [[250, "permission"]]);
    }
  });

  test("that shows something new while it is waited for its rest is looked at in time", () => {
    const { clock, view, seen, watch } = openWatch();
    using _ = watch;
    watch.touched();
    clock.advanceTo(120);

    view.rows = ["Proceed?"];
    watch.touched();
    clock.advanceTo(1000);

    assert.deepEqual(seen, [[220, "permission"]]);
  });

  test("acts read it by the rules of the version that it has shown", async () => {
    const view = { rows: ["Test 2.3", "Working"], title: "", cursor: null };
    const clock = new RecordedClock();
    using states = new RunStates({
      run: "tester-1",
      rules: RULES,
      view: () => view,
      hasWriter: () => false,
      outputOffset: () => 0,
      screenOffset: () => 0,
      emit: () => undefined,
      limits: { settleMs: 1 },
    });
    using controls = new Controls({
      states,
      rules: RULES,
      clock,
      view: () => view,
      type: () => true,
      stranger: () => null,
    });
    const before = controls.onScreen()?.rule.name;

    states.screenChanged();
    await until("the version", () => states.version ?? undefined);

    assert.deepEqual([before, states.version, controls.onScreen()], ["old busy", "2.3", null]);
  });
});
