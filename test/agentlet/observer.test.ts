import assert from "node:assert/strict";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { Observer } from "../../src/agentlet/observer.ts";
import type { Observation } from "../../src/agentlet/drivers/driver.ts";
import type { AgentletEvent } from "../../src/protocol/agentlet-link.ts";

function openObserver(screen: { seen: Observation | null; writer: boolean }) {
  const events: AgentletEvent[] = [];
  const observer = new Observer({
    run: "tester-1",
    observe: () => screen.seen,
    view: () => ({ rows: ["Do you want to proceed?", ""], title: "" }),
    hasWriter: () => screen.writer,
    outputOffset: () => 7,
    emit: (event) => events.push(event),
    limits: { settleMs: 10, idleQuietMs: 40, blockedMs: 120 },
  });
  const told = () => events.map((event) => (event.type === "state" ? event.state : event.type));
  return { observer, events, told };
}
const permission: Observation = {
  state: "permission",
  channel: "screen",
  rule: "permission-dialog",
};

suite("Observer", () => {
  test("a dialog that nobody can answer is told as blocked, once, with the screen and the way to answer", async () => {
    const { observer, events, told } = openObserver({ seen: permission, writer: false });

    observer.screenChanged();
    await timers.setTimeout(400);

    assert.deepEqual(told(), ["permission", "blocked", "screen", "notice"]);
    assert.match(JSON.stringify(events.at(-1)), /agentkube attach tester-1 --write/);
    assert.match(JSON.stringify(events.at(-2)), /Do you want to proceed/);
    observer[Symbol.dispose]();
  });

  test("with a person attached who may type it is only a permission", async () => {
    const { observer, told } = openObserver({ seen: permission, writer: true });

    observer.screenChanged();
    await timers.setTimeout(300);

    assert.deepEqual(told(), ["permission"]);
    observer[Symbol.dispose]();
  });

  test("a start that rests on an unknown screen is blocked, never idle", async () => {
    const { observer, told } = openObserver({ seen: null, writer: false });

    observer.screenChanged();
    await timers.setTimeout(300);

    assert.deepEqual(told(), ["blocked", "screen", "notice"]);
    observer[Symbol.dispose]();
  });

  test("idle needs a screen that rests", async () => {
    const screen = {
      seen: { state: "idle", channel: "screen", rule: "composer" } as Observation,
      writer: false,
    };
    const { observer, told } = openObserver(screen);

    for (let i = 0; i < 10; i++) {
      observer.screenChanged();
      await timers.setTimeout(15);
    }
    const whileBusy = told();
    await timers.setTimeout(150);

    assert.deepEqual(whileBusy, []);
    assert.deepEqual(told(), ["idle"]);
    observer[Symbol.dispose]();
  });
});
