import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { AuditRecord } from "../../src/protocol/audit.ts";
import { VerifyResult } from "../../src/protocol/results.ts";
import { openLab, repository, resultOf } from "../helpers/lab.ts";
import { playedText, screenOf } from "../helpers/screen.ts";

const start = path.join(repository, "examples/hello/start");

suite("examples/hello", () => {
  test("runs, is recorded, verified and audited, and leaves nothing behind", async () => {
    await using lab = openLab();

    const end = await lab.start(start, ["--json", "--data", lab.data]).ended;
    const result = resultOf(end);

    assert.equal(end.code, 0, end.text);
    assert.deepEqual([result.outcome, result.reason, result.exitCode], ["succeeded", "exited", 0]);
    assert.deepEqual(
      result.calls.map(({ tool, operation, outcome }) => ({ tool, operation, outcome })),
      [
        { tool: "hello", operation: "greet", outcome: "completed" },
        { tool: "hello", operation: "greet", outcome: "completed" },
      ],
    );
    assert.ok(result.recording !== null);
    const cast = readFileSync(result.recording.path);
    assert.equal(result.recording.verified, true);
    assert.equal(result.recording.bytes, cast.length);
    assert.equal(result.recording.sha256, createHash("sha256").update(cast).digest("hex"));

    const verify = await lab.agentkube(["recording", "verify", result.recording.path, "--json"])
      .ended;
    assert.equal(VerifyResult.parse(JSON.parse(verify.stdout.toString())).ok, true, verify.text);
    const raw = (
      await lab.agentkube(["recording", "cat", result.run, "--raw", "--data", lab.data]).ended
    ).stdout;
    assert.match(raw.toString(), /Hello, Ada!/);
    assert.match(raw.toString(), /Hello, Grace!/);
    assert.match(raw.toString(), /No\. Done\./);
    // What the service reflected came back masked.
    assert.match(raw.toString(), /authorization: Bearer \*+\)/);
    assert.equal(
      await screenOf(playedText(cast.toString()), 120, 40),
      await screenOf(raw, 120, 40),
    );

    const audit = readFileSync(path.join(lab.data, "runs", result.run, "audit.jsonl"), "utf8");
    const records = audit
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { seq: number })
      .map(({ seq: _seq, ...record }) => AuditRecord.parse(record));
    const requests = records.filter((record) => record.type === "request");
    assert.equal(requests.length, 2);
    for (const request of requests) {
      assert.deepEqual(
        [request.verdict, request.credential, request.method, request.path, request.status],
        ["allowed", "greeting-service", "GET", "/v1/greeting", 200],
      );
      assert.ok(request.masked > 0);
    }
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("without a terminal shows the plain output and a summary", async () => {
    await using lab = openLab();

    const end = await lab.start(start, ["--data", lab.data]).ended;

    assert.equal(end.code, 0, end.text);
    assert.match(end.text, /Hello, Ada!/);
    assert.match(end.text, /succeeded/);
    assert.deepEqual(await lab.leftovers(), []);
  });
});
