import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { ClaimBudget, claimBytesOf } from "../../src/agentlet/claim-budget.ts";
import { EVENT_LOG_LIMITS, EventLog } from "../../src/agentlet/event-log.ts";
import { ClaimPace, PACE_LIMITS } from "../../src/agentlet/states/claim-pace.ts";
import { RecordedClock } from "../../src/agentlet/states/clock.ts";
import type { Signal } from "../../src/agentlet/states/signal.ts";
import { StateJudge } from "../../src/agentlet/states/state-judge.ts";
import { AgentletEvent } from "../../src/protocol/agentlet-link.ts";

const time = new Date(0).toISOString();

function asking(text: string): AgentletEvent {
  const kind = "question" as const;
  const ask = { id: 1, kind, tool: null, text, detail: "", options: [] };
  const said = { state: "question", channel: "hook", evidence: "x", outputOffset: 7 } as const;
  return { type: "state", time, ...said, ask };
}

const heartbeat: AgentletEvent = {
  type: "heartbeat",
  time,
  outputOffset: 0,
  lastOutputMsAgo: null,
  cpuMs: 0,
  memoryBytes: 0,
  processes: 1,
};
const hands: AgentletEvent = { type: "input", time, hands: "person", outputOffset: 0 };

suite("what a CLI claims", () => {
  test("too often is taken a few times a second, and the last word always", () => {
    const clock = new RecordedClock();
    let events = 0;
    using judge = new StateJudge({
      clock,
      outputOffset: () => 0,
      onChange: () => (events += 1),
      onDeadChannel: () => undefined,
    });
    using pace = new ClaimPace({
      clock,
      standing: () => judge.standing,
      signal: (signal) => judge.signal(signal),
    });
    const ask = (text: string): Signal => {
      const claim = { tool: null, text, detail: "", options: [] };
      return { channel: "hook", state: "question", evidence: "x", ask: claim };
    };

    for (let told = 0; told < 2000; told++) {
      pace.take(ask(`question ${told}`));
      clock.advanceTo(told * 10);
    }
    assert.ok(events <= PACE_LIMITS.burst + 20 * PACE_LIMITS.perSecond + 1, `${events} events`);
    clock.advanceTo(21_000);
    assert.equal(judge.standing.ask?.text, "question 1999");

    const before = events;
    pace.take({ channel: "hook", state: "busy", evidence: "x" });
    for (let told = 0; told < 1000; told++)
      pace.take({ channel: "hook", state: "busy", evidence: "x" });
    pace.take({ channel: "hook", state: "idle", evidence: "Stop", endsTurn: true });
    clock.advanceTo(22_000);
    assert.deepEqual([events - before, judge.standing.state], [2, "idle"]);
  });

  test("takes no more of a run's events than its budget; what we say ourselves is told on", () => {
    const budget = new ClaimBudget(10 * claimBytesOf(asking("x".repeat(4096))));
    const told: AgentletEvent[] = [];
    for (let claim = 0; claim < 100; claim++)
      told.push(...budget.tell(asking("x".repeat(4096))), ...budget.tell(heartbeat));
    const exit: AgentletEvent = {
      type: "state",
      time,
      state: "exited",
      channel: "process",
      evidence: "",
      outputOffset: 9,
    };
    told.push(...budget.tell(hands), ...budget.tell(exit));

    const kinds = Map.groupBy(told, ({ type }) => type);
    assert.deepEqual(
      [kinds.get("heartbeat")?.length, kinds.get("notice")?.length, kinds.get("input")?.length],
      [100, 1, 1],
    );
    const states = kinds.get("state")?.map((event) => event.type === "state" && event.state);
    assert.deepEqual(states, [...Array<string>(10).fill("question"), "unknown", "exited"]);
    for (const event of told) AgentletEvent.parse(event);
  });

  test("is dropped first while the manager is away, the oldest first", () => {
    const log = new EventLog();
    log.add(hands);
    const text = "x".repeat(4096);
    const most = Math.floor(EVENT_LOG_LIMITS.claimBytes / claimBytesOf(asking(text)));
    for (let claim = 0; claim < 3000; claim++) log.add(asking(text));
    const ended = log.add({ ...hands, hands: "automation" });

    assert.equal(log.size, most + 2);
    assert.deepEqual(log.events[0], { seq: 1, event: hands });
    assert.equal(log.events[1]?.seq, 3001 - most + 1);
    log.forget(3001);
    assert.deepEqual(log.events, [ended]);
    for (let own = 0; own < 2 * EVENT_LOG_LIMITS.events; own++) log.add(hands);
    assert.equal(log.size, EVENT_LOG_LIMITS.events);
  });

  test("that was dropped is told once the manager is back, and only if it never had it", () => {
    const log = new EventLog();
    const at = (minute: number) => `2026-01-01T00:${String(minute).padStart(2, "0")}:00.000Z`;
    const text = "x".repeat(16_000);
    for (let claim = 0; claim < 400; claim++)
      log.add({ ...asking(text), time: at(Math.floor(claim / 10)) });
    const dropped = 400 - log.size;

    const whileItHadThem = log.lossUpTo(dropped - 1, false);
    const told = log.lossUpTo(0, true);
    const again = log.lossUpTo(0, true);

    assert.ok(dropped > 100);
    assert.equal(whileItHadThem, null);
    const last = at(Math.floor((dropped - 1) / 10));
    assert.ok(
      told?.startsWith(`${dropped} events between ${at(0)} and ${last} were dropped`),
      told ?? "",
    );
    assert.equal(again, null);
    for (let claim = 0; claim < 400; claim++) log.add(asking(text));
    assert.equal(log.lossUpTo(800, false), null);
    assert.equal(log.lossUpTo(0, true), null);
  });

  test("what became of acts and of the run is dropped last", () => {
    const log = new EventLog();
    const act: AgentletEvent = {
      type: "act",
      time: hands.time,
      act: "prompt",
      request: null,
      by: "a test",
      ask: null,
      phase: "done",
      message: "",
      outputOffset: 0,
    };
    log.add(act);
    for (let own = 0; own < EVENT_LOG_LIMITS.events + 10; own++) log.add(hands);

    assert.deepEqual(log.events[0]?.event, act);
    assert.equal(log.size, EVENT_LOG_LIMITS.events);
  });
});
