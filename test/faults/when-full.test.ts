// `recording.whenFull` from the manifest to the record. `block` and its disk that has room again is in full-disk.test.ts.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { copyFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { bytesOfEvent, CastGap, GAP_PREFIX, readIntact } from "../../src/protocol/asciicast.ts";
import { floodOnTerminal } from "../fixtures/flood.ts";
import { openLab, repository, resultOf } from "../helpers/lab.ts";
import { readRecording } from "../helpers/flood-run.ts";
import { anAgent } from "../helpers/manifests.ts";

const FLOOD = 24_000_000;

suite("a recording that has reached its quota", () => {
  for (const [whenFull, outcome, reason] of [
    ["gap", "succeeded", "exited"],
    ["terminate", "failed", "recorder_lost"],
  ] as const)
    test(`with whenFull ${whenFull}: ${outcome}, and every byte is there or counted, hashed, marked and signed as missing`, async () => {
      await using lab = openLab();
      copyFileSync(
        path.join(repository, "test/fixtures/flood.ts"),
        path.join(lab.workspace, "flood.ts"),
      );
      const script = `exec /opt/agentkube/node ./flood.ts ${FLOOD} 1`;
      const recording = { whenFull, quota: "16Mi" };
      const manifest = lab.write("agent.yaml", anAgent(script, { timeout: "5m", recording }));

      const end = await lab.run([manifest], { timeoutMs: 110_000 }).ended;
      const result = resultOf(end);

      assert.deepEqual([result.outcome, result.reason], [outcome, reason], end.text);
      assert.equal(end.code === 0, outcome === "succeeded", end.text);
      assert.equal(result.recording?.verified, true, end.text);
      const { verify } = await readRecording(lab, result.run);
      assert.deepEqual(verify.problems, []);
      const cast = path.join(lab.data, "runs", result.run, "recording.cast");
      const found = await compare(cast, floodOnTerminal(FLOOD));
      assert.ok(found.missing > 0, "nothing was dropped");
      assert.equal(verify.gapBytes, found.missing);
      // The echo of the key that ended the program lies in the last gap, and is not of the flood.
      const sure = whenFull === "gap" ? found.gaps : found.gaps.slice(0, -1);
      for (const gap of sure) assert.equal(gap.said, gap.is);
      if (whenFull === "gap") assert.equal(found.bytes, floodOnTerminal(FLOOD).length);
      assert.match(found.markers.join("\n"), /recording gap: the spool is full/);
      assert.match(
        found.markers.join("\n"),
        /recording gap: \d+ bytes of output were not recorded/,
      );
      assert.deepEqual(await lab.leftovers(), []);
    });

  test("with whenFull block: the run is ended at once, and its recording is sealed with its exit and verified", async () => {
    await using lab = openLab();
    copyFileSync(
      path.join(repository, "test/fixtures/flood.ts"),
      path.join(lab.workspace, "flood.ts"),
    );
    const script = `exec /opt/agentkube/node ./flood.ts ${FLOOD} 1`;
    const recording = { quota: "16Mi" };
    const manifest = lab.write("agent.yaml", anAgent(script, { timeout: "5m", recording }));

    const end = await lab.run([manifest], { timeoutMs: 110_000 }).ended;
    const result = resultOf(end);

    assert.deepEqual([result.outcome, result.reason], ["failed", "recorder_lost"], end.text);
    assert.match(end.text, /spec\.recording\.quota is used up/);
    assert.equal(result.recording?.verified, true, end.text);
    const { verify } = await readRecording(lab, result.run);
    assert.deepEqual(verify.problems, []);
    const cast = path.join(lab.data, "runs", result.run, "recording.cast");
    const codes: string[] = [];
    for await (const item of readIntact(cast))
      if (item.kind === "event") codes.push(item.event.code);
    assert.equal(codes.at(-1), "x");
  });
});

/** Compares, byte by byte, what is recorded, and by hash what is not, with what was printed. */
async function compare(
  cast: string,
  printed: Buffer,
): Promise<{
  bytes: number;
  missing: number;
  markers: string[];
  gaps: { said: string; is: string }[];
}> {
  const markers: string[] = [];
  let at = 0;
  let missing = 0;
  const gaps: { said: string; is: string }[] = [];
  for await (const item of readIntact(cast)) {
    if (item.kind === "comment" && item.text.startsWith(GAP_PREFIX)) {
      const gap = CastGap.parse(JSON.parse(item.text.slice(GAP_PREFIX.length)));
      const piece = printed.subarray(at, at + gap.bytes);
      gaps.push({ said: gap.sha256, is: createHash("sha256").update(piece).digest("hex") });
      at += gap.bytes;
      missing += gap.bytes;
    }
    if (item.kind !== "event") continue;
    if (item.event.code === "m") markers.push(item.event.data);
    if (item.event.code !== "o") continue;
    const bytes = bytesOfEvent(item.event);
    if (bytes.toString().startsWith("^C")) continue;
    assert.ok(printed.subarray(at, at + bytes.length).equals(bytes), `differs at byte ${at}`);
    at += bytes.length;
  }
  return { bytes: at, missing, markers, gaps };
}
