import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import timers from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { REPORT_LIMITS, openReportSocket } from "../../src/agentlet/report-socket.ts";
import type { Report } from "../../src/agentlet/report-socket.ts";
import { openCode } from "../../src/agentlet/drivers/open-code.ts";
import { openLog } from "../../src/kit/log.ts";

interface Plugin {
  Agentkube: (parts: { client: object }) => Promise<{
    event: (said: { event: { type: string; properties: object } }) => Promise<void>;
  }>;
}

test("OpenCode's plugin tells of a large event without its document, and finds the agentlet again", async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "plugin-"));
  const at = path.join(dir, "report.sock");
  const reports: Report[] = [];
  const listen = async () =>
    await openReportSocket(at, (report) => reports.push(report), openLog("test"));
  const until = async (count: number): Promise<void> => {
    for (let waited = 0; reports.length < count; waited += 20) {
      assert.ok(waited < 20_000, `${reports.length} reports`);
      await timers.setTimeout(20);
    }
  };
  const source = readFileSync(
    new URL("../../src/agentlet/drivers/open-code-plugin.js", import.meta.url),
    "utf8",
  );
  const file = path.join(dir, "plugin.mjs");
  writeFileSync(file, source.replace("/opt/agentkube/report.sock", at));
  const first = await listen();
  const { Agentkube } = (await import(pathToFileURL(file).href)) as Plugin;
  const { event } = await Agentkube({ client: {} });
  const say = async (type: string, properties: object) =>
    await event({ event: { type, properties } });
  const sessionID = "ses_1";

  const text = "漢".repeat(100_000);
  assert.ok(Buffer.byteLength(text) > REPORT_LIMITS.lineBytes);
  await say("permission.asked", { sessionID, permission: "bash", metadata: { text } });
  await until(1);
  await say("session.idle", { sessionID });
  await until(2);
  assert.deepEqual(reports[0]?.data, { sessionID, permission: "bash" });

  await first[Symbol.asyncDispose]();
  await timers.setTimeout(50);
  await say("session.status", { sessionID, status: { type: "busy" } });
  await using second = await listen();
  await until(3);
  assert.equal(reports[2]?.name, "session.status");
  assert.equal(second.dropped, 0);

  const part = (callID: string, status: string, of = sessionID) => ({
    part: { type: "tool", tool: "bash", callID, sessionID: of, state: { status } },
  });
  await say("session.created", { info: { id: "ses_child", parentID: sessionID } });
  for (const [callID, status, of] of [
    ["a", "pending"],
    ["a", "running"],
    ["a", "running"],
    ["b", "running"],
    ["c", "running", "ses_child"],
    ["a", "error"],
    ["b", "completed"],
  ] as const)
    await say("message.part.updated", part(callID, status, of));
  await say("session.idle", { sessionID });
  await until(7);
  assert.deepEqual(
    reports.slice(3).map((report) => [report.name, openCode.toolOf?.(report)]),
    [
      ["tool.began", { began: "bash" }],
      ["tool.began", { began: "bash" }],
      ["tool.ended", { ended: true }],
      ["session.idle", null],
    ],
  );
  rmSync(dir, { recursive: true, force: true });
});
