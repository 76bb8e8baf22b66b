import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { stopProgram } from "../../../src/agentlet/stop.ts";
import type { Stoppable } from "../../../src/agentlet/stop.ts";
import { RecordedClock } from "../../../src/agentlet/states/clock.ts";
import { EvidenceLog } from "../../../src/agentlet/states/evidence.ts";
import { StallWatch } from "../../../src/agentlet/states/stall-watch.ts";
import type { LifeSigns } from "../../../src/agentlet/states/stall-watch.ts";

const LIMITS = { interruptMs: 60, quitMs: 40, terminateMs: 40 };

/** A program that leaves at one of the steps. */
function aProgram(leavesAt: string, isIdle = false) {
  const done: string[] = [];
  const exited = Promise.withResolvers<void>();
  const idle = Promise.withResolvers<void>();
  if (isIdle) idle.resolve();
  const step = (name: string) => {
    done.push(name);
    if (name === "interrupt") setTimeout(idle.resolve, 20);
    if (name === leavesAt) exited.resolve();
  };
  const program: Stoppable = {
    exited: exited.promise,
    type: (bytes) => step(bytes.toString() === "\x1b" ? "interrupt" : "quit"),
    signalAll: (signal) => step(`signal ${signal}`),
    kill: async () => step("kill"),
    keys: { interrupt: "\x1b", quit: "/exit\r" },
    idle: async () => await idle.promise,
  };
  return { program, done };
}

suite("stopping a CLI", () => {
  test("breaks off its turn, waits until it is idle, and only then asks it to leave", async () => {
    const busy = aProgram("quit");
    const idle = aProgram("quit", true);

    await stopProgram(busy.program, "cancelled", LIMITS);
    await stopProgram(idle.program, "cancelled", LIMITS);

    assert.deepEqual(busy.done, ["interrupt", "quit"]);
    assert.deepEqual(idle.done, ["quit"]);
  });

  test("goes on to SIGTERM and to the whole namespace when it does not leave", async () => {
    const terminated = aProgram("signal 15");
    const killed = aProgram("kill");

    await stopProgram(terminated.program, "timed_out", LIMITS);
    await stopProgram(killed.program, "cancelled", LIMITS);

    assert.deepEqual(terminated.done, ["interrupt", "quit", "signal 15", "signal 18"]);
    assert.deepEqual(killed.done, ["interrupt", "quit", "signal 15", "signal 18", "kill"]);
  });

  test("asks nothing of a zone that is out of memory", async () => {
    const { program, done } = aProgram("kill");

    await stopProgram(program, "out_of_memory", LIMITS);

    assert.deepEqual(done, ["kill"]);
  });
});

suite("signs of life", () => {
  const quiet: LifeSigns = {
    nowMs: 0,
    outputOffset: 10,
    cpuMs: 100,
    isBusy: true,
    lastSignalMsAgo: null,
    lastTranscriptMsAgo: null,
    tool: null,
  };
  /** Ten seconds of looking each second, with a change from the fifth on. */
  const look = (change: (second: number) => Partial<LifeSigns>) => {
    const watch = new StallWatch(8000);
    let last = { silentMs: 0, stalled: false };
    for (let second = 0; second < 10; second++)
      last = watch.look({ ...quiet, nowMs: second * 1000, ...change(second) });
    return last.stalled;
  };

  test("a busy CLI without any of them is stalled, and one with any of them is not", () => {
    assert.equal(
      look(() => ({})),
      true,
    );
    assert.equal(
      look((second) => ({ outputOffset: 10 + (second > 4 ? 1 : 0) })),
      false,
    );
    assert.equal(
      look((second) => ({ cpuMs: 100 + second * 50 })),
      false,
    );
    assert.equal(
      look((second) => ({ lastSignalMsAgo: second > 4 ? (second - 5) * 1000 : null })),
      false,
    );
    assert.equal(
      look((second) => ({ lastTranscriptMsAgo: second > 4 ? (second - 5) * 1000 : null })),
      false,
    );
    assert.equal(
      look(() => ({ tool: { name: "Bash", ageMs: 9000 } })),
      false,
    );
    assert.equal(
      look(() => ({ isBusy: false })),
      false,
    );
  });

  test("a heartbeat says which tool the CLI uses and since when, until it says that it is done", () => {
    const clock = new RecordedClock();
    const log = new EvidenceLog(clock);
    assert.deepEqual(log.now, { lastSignalMsAgo: null, lastTranscriptMsAgo: null, tool: null });

    log.report({ channel: "hook" }, { began: "Bash" });
    clock.advanceTo(5000);
    log.report({ channel: "transcript" }, null);
    clock.advanceTo(6000);
    const during = log.now;
    log.report({ channel: "hook" }, { ended: true });

    assert.deepEqual(during, {
      lastSignalMsAgo: 1000,
      lastTranscriptMsAgo: 1000,
      tool: { name: "Bash", ageMs: 6000 },
    });
    assert.equal(log.now.tool, null);
    log.report({ channel: "event" }, { began: "" });
    assert.deepEqual(log.now.tool, { name: "unknown", ageMs: 0 });
  });
});
