import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, suite, test } from "node:test";
import { RESULT_LIMITS } from "../../src/agentlet/zone-life.ts";
import { HEARTBEAT_LIMITS } from "../../src/agentlet/heartbeat.ts";
import type { StopWish } from "../../src/agentlet/stop.ts";
import { childrenOf } from "../../src/kit/process-tree.ts";
import { until } from "../helpers/until.ts";
import type { SmallManager } from "./small-manager.ts";
import type { SmallRecorder } from "./small-recorder.ts";
import { openSmallRun, type SmallRun } from "./small-run.ts";

/** The steps of a stop take 4 s for a program of no known kind; the rest is a busy machine's, and the programs stay for 50 s and more. */
const STOPPED_MS = 30_000;

suite("a program that does not want to end", { concurrency: false }, () => {
  let small: SmallRun;
  let directory: string;
  let recorder: SmallRecorder;
  let manager: SmallManager;
  let stop: StopWish;
  beforeEach(async () => {
    small = await openSmallRun();
    ({ directory, recorder, manager, stop } = small);
  });
  afterEach(async () => {
    await small[Symbol.asyncDispose]();
  });

  const start = (...words: Parameters<SmallRun["run"]>) => small.run(...words);
  const shown = () => recorder.output().toString();
  /** Starts, waits for `on`, stops, and says how long that took. */
  const stopped = async (script: string) => {
    const ended = start(script);
    await until("the program is on", () => shown().includes("on"));
    const from = performance.now();
    stop.wish("cancelled", "enough");
    const end = await ended;
    return { end, tookMs: performance.now() - from, left: await childrenOf(process.pid) };
  };

  test("stopped: SIGTERM wakes it, so that it can save its work", async () => {
    const { end, left } = await stopped(
      "trap '' INT; trap 'echo saved; exit 7' TERM; echo on; kill -STOP $$; while :; do sleep 0.1; done",
    );

    assert.match(shown(), /saved/);
    assert.deepEqual([end.outcome, end.exitCode], ["cancelled", 7]);
    assert.deepEqual(left, []);
  });

  test("whose whole tree is stopped and that ignores everything is gone all the same", async () => {
    const { end, tookMs, left } = await stopped(
      "trap '' INT TERM HUP CONT; sh -c 'trap \"\" TERM CONT; kill -STOP $$' & setsid sh -c 'kill -STOP $$' & sleep 0.2; echo on; kill -STOP $$; while :; do kill -STOP $$; done",
    );

    assert.deepEqual([end.outcome, end.reason], ["cancelled", "cancelled"]);
    assert.ok(tookMs < STOPPED_MS, String(tookMs));
    assert.deepEqual(left, []);
  });

  test("that forks on and on once it is asked to go, in sessions of their own", async () => {
    const { end, tookMs, left } = await stopped(
      `trap '' INT; cat > /tmp/f <<'END'
trap '' TERM INT HUP
for i in 1 2 3 4 5 6 7 8; do setsid sh /tmp/g & sleep 0.05; done
while :; do setsid sh /tmp/g & sleep 0.05; done
END
cat > /tmp/g <<'END'
trap '' TERM INT HUP
(setsid sleep 100 &)
while :; do sleep 0.2; (setsid sh -c 'trap "" TERM; sleep 50' &) ; done
END
trap 'exec sh /tmp/f' TERM; echo on; while :; do sleep 0.05; done`,
    );

    assert.deepEqual([end.outcome, end.reason], ["cancelled", "cancelled"]);
    assert.ok(tookMs < STOPPED_MS, String(tookMs));
    assert.deepEqual(left, []);
  });

  test("that waits for a child of vfork without end", async () => {
    await writeFile(
      join(directory, "workspace/v.c"),
      '#define _GNU_SOURCE\n#include <unistd.h>\n#include <signal.h>\nint main(void){signal(SIGTERM,SIG_IGN);signal(SIGINT,SIG_IGN);if(write(1,"on\\n",3)<0)return 1;if(vfork()==0){setsid();for(;;)pause();}return 0;}',
    );
    execFileSync("cc", [
      "-w",
      "-o",
      join(directory, "workspace/v"),
      join(directory, "workspace/v.c"),
    ]);

    const { end, tookMs, left } = await stopped("exec ./v");

    assert.deepEqual([end.outcome, end.reason], ["cancelled", "cancelled"]);
    assert.ok(tookMs < STOPPED_MS, String(tookMs));
    assert.deepEqual(left, []);
  });

  test("that leaves a child which floods the terminal: the run ends with its code, and says so", async () => {
    const from = performance.now();
    const end = await start(
      "trap '' HUP; (setsid sh -c 'trap \"\" HUP TERM; while :; do echo flood; done' &) ; sleep 0.3; exec 2>&-; echo the last word; exit 4",
    );

    assert.deepEqual([end.reason, end.exitCode], ["exited", 4]);
    assert.match(shown(), /the last word/);
    assert.ok(performance.now() - from < STOPPED_MS);
    const notices = manager.events.map(({ event }) =>
      event.type === "notice" ? event.message : "",
    );
    assert.ok(notices.some((message) => /still had the terminal open/.test(message)));
    assert.deepEqual(await childrenOf(process.pid), []);
  });

  test("that closes all its descriptors is watched to its end, and what it writes to its terminal later is on record", async () => {
    const end = await start(
      "echo first; exec 0<&- 1>&- 2>&-; sleep 0.5; echo again > /dev/tty; sleep 0.3; exit 5",
    );

    assert.deepEqual([end.reason, end.exitCode], ["exited", 5]);
    assert.match(shown(), /first\r\nagain\r\n/);
    assert.deepEqual(await childrenOf(process.pid), []);
  });

  test("that becomes a setuid program gets no rights by it and ends as it does", async () => {
    const end = await start(
      "ls -l /usr/bin/su; grep NoNewPrivs /proc/self/status; exec su -c id root </dev/null",
    );

    assert.match(shown(), /NoNewPrivs:\t1/);
    assert.doesNotMatch(shown(), /uid=0/);
    assert.equal(end.reason, "exited");
    assert.notEqual(end.exitCode, 0);
  });

  test("that says that it is busy and shows no sign of life ends as stalled", async (t) => {
    const limits = { ...HEARTBEAT_LIMITS };
    t.after(() => Object.assign(HEARTBEAT_LIMITS, limits));
    Object.assign(HEARTBEAT_LIMITS, { checkMs: 50, stalledMs: 2000 });

    const end = await start("", {
      agent: {
        runtime: "ClaudeCode",
        argv: [
          "/bin/sh",
          "-c",
          "/opt/agentkube/report hook UserPromptSubmit </dev/null; exec sleep 100",
        ],
      },
    });

    assert.deepEqual([end.outcome, end.reason], ["failed", "stalled"]);
    assert.match(end.detail?.cause ?? "", /written nothing, said nothing/);
    assert.deepEqual(await childrenOf(process.pid), []);
  });

  /** A one-shot Claude Code that says this as its result, and then does that. */
  const oneShot = (result: object, then: string) =>
    start("", {
      agent: {
        runtime: "ClaudeCode",
        mode: "system",
        argv: ["/bin/sh", "-c", `echo '${JSON.stringify({ type: "result", ...result })}'; ${then}`],
      },
    });

  test("after its result: what it said counts, and that it hung is the reason", async (t) => {
    const { leaveMs } = RESULT_LIMITS;
    t.after(() => {
      RESULT_LIMITS.leaveMs = leaveMs;
    });
    RESULT_LIMITS.leaveMs = 300;

    const end = await oneShot(
      { subtype: "success", is_error: false },
      "trap '' INT TERM; sleep 99",
    );

    assert.deepEqual([end.outcome, end.reason], ["succeeded", "hung_after_result"]);
    assert.deepEqual(await childrenOf(process.pid), []);
  });

  test("for a lost login ends as login_lost, whatever its exit code", async () => {
    const end = await oneShot({ is_error: true, result: "Please run /login" }, "exit 0");

    assert.deepEqual([end.outcome, end.reason, end.exitCode], ["failed", "login_lost", 0]);
  });
});
