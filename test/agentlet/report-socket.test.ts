import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { appendFile, mkdtemp, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { REPORT_LIMITS, openReportSocket } from "../../src/agentlet/report-socket.ts";
import type { Report, ReportSocket } from "../../src/agentlet/report-socket.ts";
import { openSandbox } from "../../src/kit/sandbox.ts";
import { openLog } from "../../src/kit/log.ts";
import { PtySession } from "../../src/agentlet/pty-session.ts";
import { zoneEnv, zonePlan } from "../../src/agentlet/zone.ts";
import { aRunSpec } from "./run-spec.ts";

async function listen(
  read: (report: Report) => void = () => undefined,
): Promise<{ socket: ReportSocket; reports: Report[] } & AsyncDisposable> {
  const dir = mkdtempSync(path.join(tmpdir(), "report-"));
  const reports: Report[] = [];
  const socket = await openReportSocket(
    path.join(dir, "report.sock"),
    (report) => {
      read(report);
      reports.push(report);
    },
    openLog("test"),
  );
  const dispose = async (): Promise<void> => {
    await socket[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true, force: true });
  };
  return { socket, reports, [Symbol.asyncDispose]: dispose };
}

/** Sends bytes and waits until the other side has closed. */
async function say(socket: ReportSocket, bytes: string | Buffer): Promise<void> {
  const client = connect(socket.path);
  client.on("error", () => undefined);
  client.resume().end(bytes);
  await new Promise((resolve) => client.once("close", resolve));
}

suite("the report socket", () => {
  test("takes lines of JSON in their order, in whatever pieces, and closes once it has them", async () => {
    await using room = await listen();
    const { socket, reports } = room;
    const line = (name: string) => `${JSON.stringify({ channel: "hook", name, data: { a: 1 } })}\n`;

    await say(socket, line("Stop") + line("UserPromptSubmit"));
    const client = connect(socket.path);
    for (const byte of line("PreToolUse")) {
      client.write(byte);
      await timers.setImmediate();
    }
    client.resume().end();
    await once(client, "close");

    assert.deepEqual(
      reports.map(({ name }) => name),
      ["Stop", "UserPromptSubmit", "PreToolUse"],
    );
  });

  test("drops and counts what is no report, too long or too often, and goes on", async () => {
    await using room = await listen();
    const { socket, reports } = room;

    await say(socket, 'nonsense\n{"channel":"process","name":"x","data":1}\n{"channel":"hook"}\n');
    await say(socket, Buffer.alloc(REPORT_LIMITS.lineBytes + 64 * 1024, "x"));
    const before = socket.dropped;
    const many = `${JSON.stringify({ channel: "hook", name: "Stop", data: null })}\n`.repeat(1000);
    await say(socket, many);

    assert.equal(before, 4);
    assert.ok(reports.length <= 2 * REPORT_LIMITS.linesPerSecond, `${reports.length}`);
    assert.equal(socket.dropped + reports.length, 1004);
    await timers.setTimeout(1100);
    await say(socket, '{"channel":"hook","name":"after","data":null}\n');
    assert.equal(reports.at(-1)?.name, "after");
  });

  test("drops a document that nests without end, and a report that its reader throws at", async () => {
    await using room = await listen(({ name }) => {
      if (name === "Broken") throw new RangeError("Maximum call stack size exceeded");
    });
    const { socket, reports } = room;
    const line = (name: string, data: string) =>
      `{"channel":"hook","name":"${name}","data":${data}}\n`;
    const deep = (open: string, close: string) => open.repeat(20_000) + "1" + close.repeat(20_000);

    await say(socket, line("Deep", `{"tool_input":{"a":${deep("[", "]")}}}`));
    await say(socket, line("Deep", deep('{"data":', "}")));
    await say(socket, line("Broken", "1") + line("Stop", "1"));

    assert.deepEqual([reports.map(({ name }) => name), socket.dropped], [["Stop"], 3]);
  });

  test("keeps unfinished lines within one bound, and none for long", async (t) => {
    await using room = await listen();
    const { socket, reports } = room;
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const open = async (): Promise<Socket> => {
      const client = connect(socket.path);
      client.on("error", () => undefined).resume();
      await once(client, "connect");
      return client;
    };
    const clients: Socket[] = [];
    const piece = Buffer.alloc(REPORT_LIMITS.lineBytes - 1, "x");
    const fitting = Math.floor(REPORT_LIMITS.heldBytes / piece.length);
    for (let count = 0; count < fitting; count++) {
      const client = await open();
      client.write(piece);
      clients.push(client);
    }
    const one = await open();
    one.write(piece);
    const all = [one, ...clients].map((client) => ({
      client,
      closed: new Promise((resolve) => client.once("close", resolve)),
    }));
    await Promise.race(all.map(async ({ closed }) => await closed));
    assert.equal(socket.dropped, 1);

    t.mock.timers.tick(REPORT_LIMITS.lineMs);
    await Promise.all(all.map(async ({ closed }) => await closed));
    assert.equal(socket.dropped, all.length);
    t.mock.timers.reset();
    await say(socket, '{"channel":"hook","name":"after","data":null}\n');
    assert.equal(reports.length, 1);
  });

  test("a hook in a real zone reports through it, silently, and follows a transcript for one kind of line", async () => {
    await using room = await listen();
    const { socket, reports } = room;
    const workspace = await mkdtemp(path.join(tmpdir(), "report-zone-"));
    const transcript = path.join(workspace, "session.jsonl");
    await writeFile(transcript, '{"text":"[interrupted] before"}\n');
    const spec = aRunSpec({ zone: { workspace } });
    const parts = { files: [], nodePath: process.execPath, reportSocket: socket.path };
    const stdio = { stdin: "ignore", stdout: "ignore", stderr: "ignore" } as const;
    await using sandbox = await openSandbox(
      zonePlan(spec, parts),
      stdio,
      AbortSignal.timeout(20_000),
    );
    const hook = JSON.stringify({ transcript_path: transcript, note: "two\nlines" }, null, 2);
    await writeFile(path.join(workspace, "hook.json"), hook);
    const report = "/opt/agentkube/report hook SessionStart --follow '[interrupted]' < hook.json";
    const script = `${report}; echo "code $?"; /opt/agentkube/report hook 'Bad"Name' < hook.json; echo "code $?"; sleep 30`;
    const program = await sandbox.start({
      argv: ["/bin/sh", "-c", script],
      cwd: workspace,
      env: zoneEnv(spec, { url: "http://127.0.0.1:4180", agentToken: "t" }, {}),
      cols: 80,
      rows: 24,
    });
    const output: Buffer[] = [];
    const pty = new PtySession({
      program,
      size: { cols: 80, rows: 24 },
      onOutput: (bytes) => output.push(Buffer.from(bytes)),
      onRefusedInput: () => undefined,
    });
    const until = async (fits: () => boolean): Promise<void> => {
      for (let waited = 0; !fits(); waited += 20) {
        assert.ok(
          waited < 10_000,
          `${JSON.stringify(reports)} ${Buffer.concat(output).toString()}`,
        );
        await timers.setTimeout(20);
      }
    };

    await until(() => Buffer.concat(output).toString().split("code 0").length === 3);
    // The follower is a process of its own: lines are written until it has told of one.
    await until(() => {
      void appendFile(transcript, '{"text":"other"}\n{"text":"[interrupted] now"}\n');
      return reports.length > 1;
    });
    await sandbox[Symbol.asyncDispose]();
    await pty.ended;

    assert.equal(Buffer.concat(output).toString(), "code 0\r\ncode 0\r\n");
    const [first, second] = reports;
    assert.deepEqual(first, {
      channel: "hook",
      name: "SessionStart",
      data: { transcript_path: transcript, note: "two\nlines" },
    });
    assert.deepEqual(second, {
      channel: "transcript",
      name: "SessionStart",
      data: { text: "[interrupted] now" },
    });
    rmSync(workspace, { recursive: true, force: true });
  });

  test("the helper outside a zone is silent, reads all of its input and exits with 0", async () => {
    const helper = new URL("../../build/report", import.meta.url).pathname;
    const child = spawn(helper, ["hook", "Stop"], { stdio: ["pipe", "pipe", "pipe"] });
    const said: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => said.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => said.push(chunk));
    child.stdin.end(Buffer.alloc(4 * 1024 * 1024, "x"));

    const [code] = (await once(child, "close")) as [number];

    assert.deepEqual([code, Buffer.concat(said).toString()], [0, ""]);
  });
});
