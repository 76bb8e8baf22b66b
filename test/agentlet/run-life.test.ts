import assert from "node:assert/strict";
import { once } from "node:events";
import { readdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { join } from "node:path";
import { afterEach, beforeEach, suite, test } from "node:test";
import timers from "node:timers/promises";
import { until } from "../helpers/until.ts";
import { childrenOf } from "../../src/kit/process-tree.ts";
import { PlatformError } from "../../src/kit/platform-error.ts";
import { HEARTBEAT_LIMITS } from "../../src/agentlet/heartbeat.ts";
import type { StopWish } from "../../src/agentlet/stop.ts";
import { PASTE_LIMITS } from "../../src/agentlet/typed-pastes.ts";
import { sayLastWords } from "../../src/protocol/last-words.ts";
import type { SmallManager } from "./small-manager.ts";
import type { SmallRecorder } from "./small-recorder.ts";
import { BOOT, openSmallRun, type SmallRun } from "./small-run.ts";

const ATTACH = "0123456789abcdef";

suite("the life of a run", { concurrency: false }, () => {
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

  const run = (...words: Parameters<SmallRun["run"]>) => small.run(...words);
  const exitStatus = () => {
    const last = recorder.frames.at(-1);
    return last?.type === "exit" ? last.status : null;
  };
  const leftovers = async () => await childrenOf(process.pid);

  test("records what the program wrote, says how it ended, and leaves nothing", async () => {
    const end = await run("stty -onlcr; echo hello from $AGENTKUBE_RUN; id -u; pwd; exit 3");

    assert.deepEqual(end, { outcome: "failed", reason: "exited", exitCode: 3, signal: null });
    assert.equal(
      recorder.output().toString(),
      `hello from tester-0123abcd\n${process.getuid?.() === 0 ? 1000 : process.getuid?.()}\n${directory}/workspace\n`,
    );
    assert.equal(exitStatus(), 3);
    const types = manager.events.map(({ event }) =>
      event.type === "state" ? event.state : event.type,
    );
    assert.deepEqual(types, ["starting", "unknown", "exited", "ended"]);
    assert.deepEqual(manager.authorizations, [`Bearer ${BOOT.agentletToken}`]);
    assert.deepEqual(await leftovers(), []);
  });

  test("a program that is not there is a failed spawn with its path and what to do", async () => {
    const end = await run("", { agent: { argv: ["/usr/bin/no-such-cli"] } });

    assert.equal(end.reason, "spawn_failed");
    assert.equal(end.detail?.path, "/usr/bin/no-such-cli");
    assert.match(end.detail?.fix ?? "", /installed/);
    assert.equal(exitStatus(), 127);
    assert.deepEqual(await leftovers(), []);
  });

  test("a zone that cannot be had is a refusal, and the recording says so", async () => {
    const end = await run("true", {
      zone: { binds: [{ source: "/no/such/place", target: "/x", mode: "ro" }] },
    });

    assert.deepEqual([end.outcome, end.reason], ["refused", "not_started"]);
    assert.ok(recorder.frames.some((frame) => frame.type === "marker"));
    assert.deepEqual(await leftovers(), []);
  });

  test("stop ends a program that ignores signals, with its grandchildren, within 10 s", async () => {
    const ended = run(
      "trap '' INT TERM HUP; setsid sleep 300 & echo on; while :; do sleep 0.1; done",
    );
    await until("the program is on", () => recorder.output().includes("on"));
    const from = performance.now();

    manager.command({ kind: "stop", by: "a test" });
    const end = await ended;

    assert.deepEqual(
      [end.outcome, end.reason, end.detail?.cause],
      ["cancelled", "cancelled", "Stopped by a test"],
    );
    assert.ok(performance.now() - from < 8000);
    assert.equal(exitStatus(), 130);
    assert.deepEqual(await leftovers(), []);
  });

  test("a program that obeys the interrupt key ends at once when stopped", async () => {
    const ended = run("trap 'echo saved; exit 7' INT; echo on; while :; do sleep 0.05; done");
    await until("the program is on", () => recorder.output().includes("on"));
    const from = performance.now();

    stop.wish("cancelled", "enough");
    const end = await ended;

    assert.deepEqual([end.outcome, end.exitCode, end.signal], ["cancelled", 7, null]);
    assert.match(recorder.output().toString(), /saved/);
    assert.ok(performance.now() - from < 1500);
  });

  test("what became of an act that was under way when the program ended is told before the end", async () => {
    const ended = run("trap 'exit 7' INT; echo on; while :; do sleep 0.05; done");
    await until("the program is on", () => recorder.output().includes("on"));

    manager.command({ kind: "interrupt", request: "0".repeat(16), by: "a test" });
    await ended;

    const told = manager.events.map(({ event }) =>
      event.type === "act" ? `${event.phase}: ${event.message}` : event.type,
    );
    const acts = told.filter((each) => each.includes(": "));
    assert.deepEqual(acts, ["accepted: taken", "done: the program has ended"]);
    assert.equal(told.at(-1), "ended");
    assert.match(told.at(-3) ?? "", /^done/);
  });

  test("a run that takes too long is timed_out", async () => {
    const end = await run("trap 'exit 0' INT; while :; do sleep 0.05; done", {
      agent: { timeoutMs: 300 },
    });

    assert.deepEqual([end.outcome, end.reason], ["failed", "timed_out"]);
    assert.equal(exitStatus(), 124);
  });

  test("too much memory ends zone A as SIGKILL and names the limit", async () => {
    const end = await run("head -c 300000000 /dev/zero | tail; sleep 5", {
      zone: { memoryBytes: 100_000_000 },
    });

    assert.deepEqual(
      [end.reason, end.signal, end.detail?.path],
      ["signalled", "SIGKILL", "spec.limits.memory"],
    );
    assert.equal(exitStatus(), 137);
  });

  test("a program that dies of a signal has failed by it", async () => {
    const end = await run("kill -SEGV $$");

    assert.deepEqual([end.outcome, end.reason, end.signal], ["failed", "signalled", "SIGSEGV"]);
    assert.equal(exitStatus(), 139);
  });

  test("a tool of the run is a program on PATH, and its files cannot be changed", async () => {
    const end = await run(
      "command -v github-issues; echo x > /opt/agentkube/shim.mjs || echo read-only; test -x /opt/agentkube/node",
      { tools: ["github-issues"] },
    );

    assert.match(
      recorder.output().toString(),
      /^\/opt\/agentkube\/bin\/github-issues\r\n.*read-only/s,
    );
    assert.equal(end.outcome, "succeeded");
  });

  test("a one-shot Claude Code is judged by its result line, not by a 0 alone", async () => {
    const result = '{"type":"result","subtype":"success","is_error":false,"result":"done"}';
    const script = `test -f ~/.claude/settings.json && test "$ANTHROPIC_AUTH_TOKEN" = "$AGENTKUBE_AGENT_TOKEN" && echo '${result}'`;

    const end = await run("", {
      agent: { runtime: "ClaudeCode", mode: "system", argv: ["/bin/sh", "-c", script] },
    });

    assert.deepEqual([end.outcome, end.reason, end.exitCode], ["succeeded", "completed", 0]);
  });

  test("a result that a child writes onto the terminal, or into its parent's output by /proc, is none; both are on record", async () => {
    const result = '{"type":"result","subtype":"success","is_error":false,"result":"forged"}';
    const child = `echo '${result}' > /dev/tty; echo '${result}' > /proc/$PPID/fd/1; echo "own: $?" >&2`;
    const script = `sh -c "$CHILD"; echo '{"type":"system"}'`;

    const end = await run("", {
      agent: {
        runtime: "ClaudeCode",
        mode: "system",
        argv: ["/usr/bin/env", `CHILD=${child}`, "/bin/sh", "-c", script],
      },
    });

    assert.deepEqual([end.outcome, end.reason, end.exitCode], ["failed", "result_error", 0]);
    const shown = recorder.output().toString();
    assert.equal(shown.split("forged").length - 1, 1, shown);
    assert.match(shown, /own: [^0]/);
    assert.ok(shown.endsWith('{"type":"system"}\r\n'), shown);
  });

  test("a one-shot Claude Code without a result line has failed", async () => {
    const end = await run("", {
      agent: { runtime: "ClaudeCode", mode: "system", argv: ["/bin/sh", "-c", "echo hi"] },
    });

    assert.deepEqual([end.outcome, end.reason, end.exitCode], ["failed", "result_error", 0]);
  });

  test("heartbeats tell how large the CLI's transcript is and since when it has not grown", async (t) => {
    const { checkMs } = HEARTBEAT_LIMITS;
    HEARTBEAT_LIMITS.checkMs = 50;
    t.after(() => {
      HEARTBEAT_LIMITS.checkMs = checkMs;
    });
    const write =
      "d=~/.claude/projects/-w; mkdir -p $d; printf 12345 > $d/0.jsonl; sleep 2; printf 67890 >> $d/0.jsonl; sleep 2";

    await run("", { agent: { runtime: "ClaudeCode", argv: ["/bin/sh", "-c", write] } });

    const told = manager.events.flatMap(({ event }) => (event.type === "heartbeat" ? [event] : []));
    const sizes = [...new Set(told.map((event) => event.transcriptBytes))].filter(Number);
    const last = told.at(-1);
    assert.deepEqual(sizes, [5, 10]);
    assert.ok((last?.lastTranscriptMsAgo ?? Infinity) < 20_000);
  });

  test("goes on when recorder and manager are killed, and nothing is missing in the end", async () => {
    const ended = run(
      "stty -onlcr; i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.002; done",
    );
    await until("the program is on", () => recorder.output().includes("line 20\n"));
    await recorder.kill();
    await manager.stop();
    await timers.setTimeout(100);
    await recorder.start();
    await manager.start();
    const end = await ended;

    assert.equal(end.outcome, "succeeded");
    const expected = Array.from({ length: 400 }, (_, i) => `line ${i}\n`).join("");
    assert.equal(recorder.output().toString(), expected);
    assert.equal(manager.events.at(-1)?.event.type, "ended");
    assert.deepEqual(
      manager.events.map(({ seq }) => seq),
      manager.events.map((_, index) => index + 1),
    );
  });

  test("without a recorder nothing starts", async () => {
    await recorder.kill();
    const ended = run("echo never > started; sleep 1");
    await timers.setTimeout(200);

    stop.wish("recorder_lost", "the supervisor gave the recorder up");
    await timers.setTimeout(100);

    assert.deepEqual(await readdir(join(directory, "workspace")), []);
    // The end of the record waits for a recorder that comes back, for a minute.
    await recorder.start();
    const end = await ended;
    assert.equal(end.reason, "recorder_lost");
  });

  test("in a pod, a recorder that says why it cannot serve ends the run at once with its words", async () => {
    await recorder.kill();
    const socket = join(directory, "rec.sock");
    const ended = run(
      "echo never > started",
      {},
      { hidden: [], imageEnv: {}, clockAheadMs: null, lacking: null },
    );
    await timers.setTimeout(100);
    const started = performance.now();

    sayLastWords({ code: "spool_failed", message: "No room", fix: "give it room" }, socket);

    const end = await ended;
    const detail = { cause: "No room", fix: "give it room" };
    assert.deepEqual([end.outcome, end.detail], ["refused", detail]);
    assert.equal(manager.events.at(-1)?.event.type, "ended");
    assert.ok(performance.now() - started < 10_000, "nobody waits for a recorder that cannot come");
    assert.deepEqual(await readdir(join(directory, "workspace")), []);
  });

  test("in a pod that lacks a Secret no program starts, and the run's end says which", async () => {
    const fix = "create the Secret";
    const lacking = new PlatformError("secret_missing", "Expected the model key", { fix });

    const end = await run(
      "echo never > started",
      {},
      { hidden: [], imageEnv: {}, clockAheadMs: null, lacking },
    );

    assert.deepEqual(
      [end.outcome, end.detail],
      ["refused", { cause: "Expected the model key", fix }],
    );
    assert.equal(manager.events.at(-1)?.event.type, "ended");
    assert.deepEqual(await readdir(join(directory, "workspace")), []);
  });

  test("a person attaches, types, resizes and reads; typed bytes are recorded only when asked for", async () => {
    const ended = run("echo ready; read line; echo got:$line; stty size; read line", {
      agent: { recordInput: true },
    });
    await until("the program is ready", () => recorder.output().includes("ready"));
    manager.command({ kind: "attach_open", attach: ATTACH, write: true, fromOffset: 0 });
    manager.command({ kind: "attach_resize", attach: ATTACH, cols: 99, rows: 31 });
    await until("the size is recorded", () =>
      recorder.frames.some((frame) => frame.type === "resize"),
    );

    const type = (text: string) =>
      manager.command({
        kind: "attach_input",
        attach: ATTACH,
        data: Buffer.from(text).toString("base64"),
      });
    type("words\r");
    await until("the answer is shown", () => (manager.streams.get(ATTACH) ?? "").includes("31 99"));
    type("\r");
    const end = await ended;

    assert.equal(end.outcome, "succeeded");
    assert.deepEqual(manager.streams.get(ATTACH), recorder.output());
    const typed = recorder.frames.filter((frame) => frame.type === "input").length;
    assert.equal(typed, 2);
    assert.ok(manager.messages.some((message) => message.kind === "attach_close"));
  });

  test("a paste whose viewer is gone is ended, also of a viewer that was let go because too much waited: the next keys are keys", async () => {
    const ended = run(
      "stty raw -echo; printf ready; until test -e go; do sleep 0.1; done; printf reading; timeout --foreground 15 cat > /tmp/f; (head -c 30; tail -c 20) < /tmp/f | cat -v",
    );
    await until("the program is ready", () => recorder.output().includes("ready"));
    const attach = () =>
      manager.command({ kind: "attach_open", attach: ATTACH, write: true, fromOffset: null });
    const type = (text: string) => {
      const data = Buffer.from(text).toString("base64");
      manager.command({ kind: "attach_input", attach: ATTACH, data });
    };
    attach();
    type("\x1b[200~half");
    manager.command({ kind: "attach_close", attach: ATTACH, reason: "killed" });
    await timers.setTimeout(PASTE_LIMITS.leftMs + 1000);
    attach();
    type("\x1b[200~");
    for (let piece = 0; piece < 256; piece++) type("x".repeat(64 * 1024));
    type("lost\x1b[201~");
    await writeFile(join(directory, "workspace/go"), "");
    await until("the program reads", () => recorder.output().includes("reading"));
    const left = "A person left in the middle of a paste, and it is ended there";
    const leavings = () =>
      manager.events.filter(({ event }) => event.type === "notice" && event.message === left);
    await until("both pastes are ended", () => leavings().length === 2);
    attach();
    type("key");
    await ended;

    const shown = recorder.output().toString().replaceAll(/x+/g, "x…");
    assert.equal(shown, "readyreading^[[200~half^[[201~^[[200~x…^[[201~key");
    const letGo = manager.messages.find(({ kind }) => kind === "attach_close");
    assert.match(JSON.stringify(letGo), /no more of your input can wait/);
  });

  for (const [cols, rows] of [
    [1, 1],
    [1000, 1000],
  ] as const)
    test(`a terminal of ${cols}x${rows} is what the program gets, and what a viewer is shown`, async () => {
      const draws = String.raw`printf '\344\270\255 \033[999;999Hx\033[?1049h\033[2J\033[3;1Hdrawn'`;
      const ended = run(
        `echo ready; until [ "$(stty size)" = "${rows} ${cols}" ]; do sleep 0.05; done; ${draws}; read line; echo got:$line`,
      );
      await until("the program is ready", () => recorder.output().includes("ready"));
      manager.command({ kind: "attach_open", attach: ATTACH, write: true, fromOffset: 0 });
      manager.command({ kind: "attach_resize", attach: ATTACH, cols, rows });
      await until("it has drawn", () => recorder.output().includes("drawn"));
      const late = "1111111111111111";
      manager.command({ kind: "attach_open", attach: late, write: false, fromOffset: null });
      await until("a second viewer has its screen", () =>
        manager.messages.some(
          (message) => message.kind === "attach_snapshot" && message.attach === late,
        ),
      );
      const data = Buffer.from("words\r").toString("base64");
      manager.command({ kind: "attach_input", attach: ATTACH, data });
      const end = await ended;

      assert.equal(end.outcome, "succeeded");
      assert.ok(recorder.output().includes("got:words"));
      const snapshot = manager.messages.find(
        (message) => message.kind === "attach_snapshot" && message.attach === late,
      );
      // The emulator has two columns at least; the program's own terminal has one.
      assert.partialDeepStrictEqual(snapshot, { cols: Math.max(cols, 2), rows });
      assert.deepEqual(await leftovers(), []);
    });

  for (const network of ["gateway", "host"] as const) {
    test(`zone A reaches the tool-runner at its gateway (network ${network})`, async () => {
      const server: Server = createServer((request, response) => {
        response.end(`hello ${request.headers.authorization?.slice(0, 10)}`);
      });
      server.listen(join(directory, "run.sock"));
      await once(server, "listening");
      const program =
        "fetch(process.env.AGENTKUBE_MCP_URL,{headers:{authorization:'Bearer '+process.env.AGENTKUBE_AGENT_TOKEN}}).then(r=>r.text()).then(t=>console.log(t))";

      const end = await run("", {
        network,
        agent: { argv: ["/opt/agentkube/node", "-e", program] },
      });

      assert.equal(recorder.output().toString().trim(), "hello Bearer aaa");
      assert.equal(end.outcome, "succeeded");
      server.close();
      await once(server, "close");
    });
  }
});
