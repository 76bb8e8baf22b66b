import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { EVENT_LIMITS, EventBudget } from "../../src/manager/event-budget.ts";
import type { AgentletEvent } from "../../src/protocol/agentlet-link.ts";

const time = "2026-11-20T10:00:00.000Z";
const notice: AgentletEvent = { type: "notice", time, message: "said" };
const ended: AgentletEvent = {
  type: "ended",
  time,
  end: { outcome: "succeeded", reason: "exited", exitCode: 0, signal: null },
};
const FULL = EVENT_LIMITS.runBytes;

suite("the budget of a run's events", () => {
  test("keeps everything below its bound, one word beyond it, and the end whenever it comes", () => {
    const budget = new EventBudget();

    const kept = [
      budget.keep(notice, 0),
      budget.keep(notice, FULL),
      budget.keep(notice, FULL),
      budget.keep(ended, FULL),
      budget.keep(ended, FULL),
    ];

    assert.equal(kept[0], notice);
    assert.match(JSON.stringify(kept[1]), /they take 256 MiB/);
    assert.deepEqual(kept.slice(2), [null, ended, null]);
  });

  test("keeps again what a failed write has lost", () => {
    const budget = new EventBudget();
    budget.keep(notice, FULL);
    budget.keep(ended, FULL);

    budget.forget();

    assert.match(JSON.stringify(budget.keep(notice, FULL)), /they take 256 MiB/);
    assert.equal(budget.keep(ended, FULL), ended);
  });
});
