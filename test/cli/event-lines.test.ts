import assert from "node:assert/strict";
import { test } from "node:test";
import { eventLine } from "../../src/cli/event-lines.ts";

const plain = { paint: (_style: string, text: string) => text };

test("a heartbeat says in one line what shows that the run lives, its transcript included when there is one", () => {
  const heartbeat = {
    seq: 7,
    type: "heartbeat",
    time: "2026-11-20T10:00:00.000Z",
    outputOffset: 2048,
    lastOutputMsAgo: 4000,
    cpuMs: 3000,
    memoryBytes: 5 * 1024 * 1024,
    processes: 3,
    lastTranscriptMsAgo: 2000,
    transcriptBytes: 4096,
    tool: { name: "Bash\n\u001b[31m", ageMs: 61_000 },
  };
  const line = (changes: object) =>
    eventLine(JSON.stringify({ ...heartbeat, ...changes }), plain) ?? "";

  assert.match(line({}), /transcript 4\.0 KiB grew 2(?:\.0)? s ago, using Bash/);
  assert.doesNotMatch(line({}), /[\n\u001b]/);
  assert.doesNotMatch(line({ lastTranscriptMsAgo: null }), /grew/);
  assert.doesNotMatch(line({ transcriptBytes: null }), /transcript/);
});
