import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { createSigningKey } from "../../src/kit/signing.ts";
import type { AuditRecord } from "../../src/protocol/audit.ts";
import { chainLine, hashOf, parseChainLine } from "../../src/protocol/audit-chain.ts";
import { type AuditExpectation, verifyAudit } from "../../src/protocol/audit-verify.ts";
import { countersignedBytes } from "../../src/protocol/countersignature.ts";
import { Audit } from "../../src/tool-runner/audit.ts";

const KEY = createSigningKey();
const MANAGER = createSigningKey();
const RUN = "demo-1";
const CALLS = ["a", "b", "c"].map((letter) => letter.repeat(32));
const time = "2026-01-01T00:00:00.000Z";

/** Two epochs, three calls with two requests each; the second call was open when the first epoch ended. */
const LINES = build();
const PROOFS = [4, LINES.length].map((at) => proofOf(LINES, at));

function build(key = KEY): string[] {
  const dir = mkdtempSync(join(tmpdir(), "audit-verify-"));
  const path = join(dir, "audit.jsonl");
  const open = (): Audit => Audit.open({ path, run: RUN, key, argumentsKey: Buffer.alloc(32, 3) });
  {
    using audit = open();
    begin(audit, CALLS[0] ?? "");
    end(audit, CALLS[0] ?? "");
    begin(audit, CALLS[1] ?? "");
  }
  {
    using audit = open();
    begin(audit, CALLS[2] ?? "");
    end(audit, CALLS[2] ?? "");
  }
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  rmSync(dir, { recursive: true });
  return lines;
}

function begin(audit: Audit, call: string): void {
  const common = { time, run: RUN, call };
  const digest = "11".repeat(32);
  audit.record({
    type: "call_started",
    ...common,
    tool: "issues",
    operation: "list",
    face: "mcp",
    digest: `sha256:${digest}`,
    policy: digest,
    arguments: digest,
  });
  for (const path of ["/one", "/two"])
    audit.record({
      type: "request",
      ...common,
      source: "tool",
      credential: "github",
      credentialVersion: "1.1",
      method: "GET",
      host: "api.github.com:443",
      path,
      status: 200,
      bytesUp: 0,
      bytesDown: 10,
      durationMs: 1,
      masked: 0,
      verdict: "allowed",
    });
}

function end(audit: Audit, call: string): void {
  audit.record({
    type: "call",
    time,
    run: RUN,
    call,
    tool: "issues",
    operation: "list",
    outcome: "completed",
    exitCode: 0,
    tier: "standard",
    durationMs: 5,
    requests: 2,
    masked: 0,
  });
}

function proofOf(lines: readonly string[], at: number): string {
  const line = parseChainLine(lines[at - 1] ?? "");
  const statement = {
    context: "audit" as const,
    run: RUN,
    epoch: line.epoch,
    at,
    hash: line.hash,
    time,
  };
  const signature = MANAGER.sign("countersignature/audit", countersignedBytes(statement));
  return JSON.stringify({ ...statement, key: MANAGER.publicKey, signature });
}

/** Writes the lines anew from `from` on, as somebody would who has no key: numbers and hashes fit again. */
function relinked(lines: readonly string[], from: number): string[] {
  const result = lines.slice(0, from);
  for (const text of lines.slice(from)) {
    const { record } = parseChainLine(text);
    const before = parseChainLine(result.at(-1) ?? "");
    result.push(chainLine(before.seq + 1, { ...record, prev: before.hash }).text);
  }
  return result;
}

async function problemsOf(
  lines: readonly string[],
  change: Partial<AuditExpectation> = {},
): Promise<string[]> {
  const { ok, problems } = await verifyAudit(lines, {
    run: RUN,
    runnerKey: KEY.publicKey,
    managerKey: MANAGER.publicKey,
    proofs: PROOFS,
    ended: true,
    ...change,
  });
  assert.equal(ok, problems.length === 0);
  return problems.map(({ line, problem }) => `${line}: ${problem}`);
}

suite("verification of an audit", () => {
  test("finds nothing in one that is whole, over two lives of the tool-runner", async () => {
    const verdict = await verifyAudit(LINES, {
      run: RUN,
      runnerKey: KEY.publicKey,
      managerKey: MANAGER.publicKey,
      proofs: PROOFS,
      ended: true,
    });

    assert.deepEqual(verdict.problems, []);
    const { records, calls, requests, epochs, countersigned } = verdict;
    assert.deepEqual(
      { records, calls, requests, epochs, countersigned },
      { records: 14, calls: 3, requests: 6, epochs: 2, countersigned: 14 },
    );
  });

  test("a line taken out is a gap, with its number", async () => {
    const problems = await problemsOf(LINES.toSpliced(2, 1));

    assert.ok(problems.includes("3: record 3 is missing"), problems.join("\n"));
  });

  test("a line taken out and the rest numbered anew is found by every receipt after it", async () => {
    const problems = await problemsOf(relinked(LINES.toSpliced(2, 1), 2), { proofs: [] });

    assert.ok(
      problems.some((text) => /signature of the receipt of call a+ \(record 4\)/.test(text)),
      problems.join("\n"),
    );
  });

  for (const [name, from, to] of [
    ["a path", '"/one"', '"/six"'],
    ["a status", '"status":200', '"status":201'],
    ["an outcome", '"outcome":"completed"', '"outcome":"timed_out"'],
    ["a time", time, "2026-01-01T00:00:01.000Z"],
  ] as const) {
    test(`one edit of ${name} is found, also when all hashes were made to fit again`, async () => {
      const at = LINES.findIndex((line) => line.includes(from) && !line.includes("epoch_started"));
      const edited = LINES.with(at, (LINES[at] ?? "").replace(from, to));

      const plain = await problemsOf(edited, { proofs: [] });
      const careful = await problemsOf(relinked(edited, at + 1), { proofs: [] });

      assert.notDeepEqual(plain, []);
      assert.notDeepEqual(careful, []);
    });
  }

  test("an edit that no receipt covers yet is found by the line after it", async () => {
    const edited = LINES.slice(0, 8).with(6, (LINES[6] ?? "").replace('"/one"', '"/six"'));

    const problems = await problemsOf(edited, { proofs: [], ended: false });

    assert.deepEqual(problems, [
      "8: record 7 was changed, or record 8 was put in its place: the hashes do not fit",
    ]);
  });

  test("two lines in another order, and a line twice, are named as such", async () => {
    const swapped = await problemsOf(LINES.with(2, LINES[3] ?? "").with(3, LINES[2] ?? ""));
    const repeated = await problemsOf(LINES.toSpliced(6, 0, LINES[4] ?? ""));

    assert.ok(swapped.some((text) => /record 3 comes after record 4: out of order/.test(text)));
    assert.ok(repeated.includes("7: record 5 is a repetition of line 5"), repeated.join("\n"));
  });

  test("a receipt replayed for another call does not fit", async () => {
    const receipt = parseChainLine(LINES[4] ?? "");
    const last = parseChainLine(LINES[12] ?? "");
    const forged = { ...receipt.record, call: CALLS[2], epoch: 2, prev: last.hash } as AuditRecord;
    const lines = [...LINES.slice(0, 13), chainLine(14, forged).text];

    const problems = await problemsOf(lines, { proofs: [], ended: false });

    assert.ok(problems.some((text) => /14: the signature of the receipt of call c+/.test(text)));
  });

  test("a cut end is found as far as the manager has signed, in the middle of a call too", async () => {
    for (const left of [13, 10, 5, 1]) {
      const problems = await problemsOf(LINES.slice(0, left), { ended: false });
      assert.ok(
        problems.includes(
          `0: cut off: the manager signed record 14, the audit ends at record ${left}`,
        ),
        problems.join("\n"),
      );
    }
    assert.deepEqual(await problemsOf(LINES.slice(0, 5), { ended: false, proofs: [] }), []);
  });

  test("a run that has ended must be signed to its end, with a receipt for every call", async () => {
    const open = await problemsOf(LINES.slice(0, 8), { proofs: [proofOf(LINES, 4)] });

    assert.ok(open.some((text) => /call b+, begun in record 6, has no receipt/.test(text)));
    assert.ok(open.some((text) => /records 5 to 8 are not countersigned/.test(text)));
  });

  test("an audit that somebody made up with a key of his own is not this run's", async () => {
    const forged = build(createSigningKey());

    const unknown = await problemsOf(forged, { runnerKey: null, proofs: [], ended: false });
    const known = await problemsOf(forged, { proofs: [] });
    const signed = await problemsOf(forged, { runnerKey: null });

    assert.deepEqual(unknown, []);
    assert.ok(known.some((text) => /another key than the one registered/.test(text)));
    assert.ok(signed.some((text) => /record 4 is not the one that the manager signed/.test(text)));
  });

  test("an audit of another run, an empty one, and lines that are none, are said to be that", async () => {
    const foreign = await problemsOf(LINES, { run: "other-run" });
    const empty = await problemsOf([], { proofs: [] });
    const garbage = await problemsOf(["{}", "no json", `${LINES[0]} `], { proofs: [] });

    assert.ok(
      foreign.some((text) => /record of run "demo-1" in the audit of "other-run"/.test(text)),
    );
    assert.deepEqual(empty, ["0: the audit is empty"]);
    assert.equal(garbage.filter((text) => text.includes("not a record of an audit")).length, 3);
  });

  test("a countersignature of another manager, or of another head, proves nothing", async () => {
    const proof = JSON.parse(PROOFS[1] ?? "") as Record<string, unknown>;
    const edited = JSON.stringify({ ...proof, at: 13, hash: hashOf(LINES[12] ?? "") });

    const problems = await problemsOf(LINES, { proofs: [edited] });

    assert.ok(problems.includes("0: countersignature 1 is not valid under the manager's key"));
  });
});
