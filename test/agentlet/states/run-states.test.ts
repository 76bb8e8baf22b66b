import assert from "node:assert/strict";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { RunStates } from "../../../src/agentlet/states/run-states.ts";
import type { RuleSet } from "../../../src/agentlet/states/screen-rule.ts";
import type { AgentletEvent } from "../../../src/protocol/agentlet-link.ts";

const RULES: RuleSet = {
  runtime: "Test",
  restingUnknownIsBlocked: true,
  rules: [
    { name: "dialog", state: "permission", tail: [/^Proceed\?$/] },
    { name: "prompt", state: "idle", tail: [/^>$/] },
  ],
};

function openStates(screen: { rows: string[]; writer: boolean }, quietMs = 40) {
  const events: AgentletEvent[] = [];
  const states = new RunStates({
    run: "tester-1",
    rules: RULES,
    view: () => ({ rows: [...screen.rows], title: "", cursor: null }),
    hasWriter: () => screen.writer,
    outputOffset: () => 7,
    screenOffset: () => 5,
    emit: (event) => events.push(event),
    limits: { settleMs: 10, quietMs, blockedMs: 3 * quietMs },
  });
  const told = () => events.map((event) => (event.type === "state" ? event.state : event.type));
  return { states, events, told };
}

suite("the states of a run", () => {
  test("a screen that no rule knows and that rests is told as blocked, once, with the screen and the way to answer", async () => {
    const { states, events, told } = openStates({ rows: ["Strange dialog"], writer: false });
    using _ = states;

    states.screenChanged();
    await timers.setTimeout(250);
    states.screenChanged();
    await timers.setTimeout(250);

    assert.deepEqual(told(), ["blocked", "screen", "notice"]);
    assert.match(JSON.stringify(events.at(-1)), /agentkube attach tester-1 --write/);
    assert.match(JSON.stringify(events.at(-2)), /Strange dialog/);
  });

  test("a dialog that comes again is told again", async () => {
    const screen = { rows: ["Strange dialog"], writer: false };
    const { states, told } = openStates(screen);
    using _ = states;
    const rests = async (row: string): Promise<void> => {
      screen.rows = [row];
      states.screenChanged();
      await timers.setTimeout(300);
    };

    await rests("Strange dialog");
    await rests(">");
    await rests("Strange dialog");

    const blocked = ["blocked", "screen", "notice"];
    assert.deepEqual(
      told().filter((state) => state !== "unknown"),
      [...blocked, "idle", ...blocked],
    );
  });

  test("a start that shows nothing known is not blocked while it computes", async () => {
    const { states, told } = openStates({ rows: ["Loading"], writer: false });
    using _ = states;
    states.process("starting", "the program has started");

    states.screenChanged();
    const works = setInterval(() => states.works(), 20);
    await timers.setTimeout(500);
    clearInterval(works);
    const meanwhile = told();
    for (let waited = 0; waited < 10_000 && !told().includes("blocked"); waited += 20)
      await timers.setTimeout(20);

    assert.deepEqual(meanwhile, ["starting"]);
    assert.deepEqual(told(), ["starting", "blocked", "screen", "notice"]);
  });

  test("with a person attached who may type it is not blocked", async () => {
    const { states, told } = openStates({ rows: ["Strange dialog"], writer: true });
    using _ = states;

    states.screenChanged();
    await timers.setTimeout(300);

    assert.deepEqual(told(), []);
  });

  test("a screen that no rule knows after a known one is unknown, never idle", async () => {
    const screen = { rows: [">"], writer: true };
    const { states, told } = openStates(screen);
    using _ = states;

    states.screenChanged();
    await timers.setTimeout(100);
    screen.rows = ["Something new"];
    states.screenChanged();
    await timers.setTimeout(150);

    assert.deepEqual(told(), ["idle", "unknown"]);
  });

  test("a permission stays a permission, so that it can be answered from afar", async () => {
    const { states, told } = openStates({ rows: ["Proceed?"], writer: false });
    using _ = states;

    states.screenChanged();
    await timers.setTimeout(300);

    assert.deepEqual(told(), ["permission"]);
  });

  test("what a screen shows belongs to the byte that the screen is at, not to the newest one", async () => {
    const { states, events } = openStates({ rows: ["Proceed?"], writer: false });
    using _ = states;

    states.screenChanged();
    await timers.setTimeout(300);

    const [event] = events;
    assert.equal(event?.type === "state" && event.outputOffset, 5);
  });

  test("idle needs a screen that rests; bytes that change nothing on it are no unrest", async () => {
    const screen = { rows: ["0", ">"], writer: false };
    // Long beside a step of 15 ms, also on a machine that is busy.
    const { states, told } = openStates(screen, 2000);
    using _ = states;

    for (let i = 0; i < 10; i++) {
      screen.rows = [`${i}`, ">"];
      states.screenChanged();
      await timers.setTimeout(15);
    }
    const whileBusy = told();
    for (let i = 0; i < 200 && told().length === 0; i++) {
      states.screenChanged();
      await timers.setTimeout(15);
    }

    assert.deepEqual(whileBusy, []);
    assert.deepEqual(told(), ["idle"]);
  });
});
