import { createHash, type Hash } from "node:crypto";
import { messageOf } from "../kit/platform-error.ts";
import type { AuditRecord } from "./audit.ts";
import {
  type ChainedLine,
  type ChainHead,
  firstPrev,
  isSealed,
  parseChainLine,
} from "./audit-chain.ts";
import { Countersignature, isCountersigned } from "./countersignature.ts";
import type { CallId, RunId } from "./ids.ts";

type CallRecord = Extract<AuditRecord, { type: "call" }>;
type StartRecord = Extract<AuditRecord, { type: "call_started" }>;

export interface AuditProblem {
  /** line of the file, from 1; 0: the whole file */
  line: number;
  problem: string;
}

/** What somebody knows of a run from elsewhere, and holds an audit against. */
export interface AuditExpectation {
  /** null: whatever the first record says */
  run: RunId | null;
  /** registered key of the run's tool-runner; null: unknown, and then signatures prove only that one key made them all */
  runnerKey: string | null;
  /** null: countersignatures cannot be checked */
  managerKey: string | null;
  /** lines of audit.proofs.jsonl, or countersignatures kept elsewhere */
  proofs: readonly string[];
  /** the run has ended: nothing may be open, and all of it must be countersigned when there is a manager's key */
  ended: boolean;
}

export interface AuditVerdict {
  ok: boolean;
  run: RunId | null;
  records: number;
  calls: number;
  requests: number;
  epochs: number;
  head: ChainHead | null;
  /** up to which record the manager has signed; null without its key or a signature of it */
  countersigned: number | null;
  runnerKey: string | null;
  problems: AuditProblem[];
}

/** Problems beyond this are only counted: one edit breaks much that follows. */
const MAX_PROBLEMS = 100;

/**
 * Checks the audit of a run line by line: gaps, edits, lines in another order, lines twice, lines of another run, receipts whose
 * signature, call or requests do not fit, and, as far as the manager has signed, a cut or rewritten end.
 */
export async function verifyAudit(
  lines: AsyncIterable<string> | Iterable<string>,
  expected: AuditExpectation,
): Promise<AuditVerdict> {
  const check = new AuditCheck(expected);
  for await (const text of lines) check.take(text);
  return check.finish();
}

interface OpenCall {
  start: StartRecord;
  seq: number;
  listed: number;
  hash: Hash;
}

class AuditCheck {
  readonly #expected: AuditExpectation;
  readonly #problems: AuditProblem[] = [];
  readonly #open = new Map<CallId, OpenCall>();
  readonly #ended = new Set<CallId>();
  readonly #seen = new Map<string, number>();
  readonly #proofs: Map<number, Countersignature[]>;
  #unlisted = 0;
  #line = 0;
  #last: ChainedLine | null = null;
  #run: RunId | null;
  #key: string | null;
  #epochs = 0;
  #calls = 0;
  #requests = 0;
  #countersigned: number | null = null;
  #maxSeq = 0;

  constructor(expected: AuditExpectation) {
    this.#expected = expected;
    this.#run = expected.run;
    this.#key = expected.runnerKey;
    this.#proofs = this.#readProofs();
  }

  take(text: string): void {
    this.#line += 1;
    let line: ChainedLine;
    try {
      line = parseChainLine(text);
    } catch (error) {
      this.#problem(`not a record of an audit: ${messageOf(error)}`);
      return;
    }
    this.#run ??= line.record.run;
    if (line.record.run !== this.#run)
      this.#problem(`record of run "${line.record.run}" in the audit of "${this.#run}"`);
    this.#checkPlace(line);
    this.#seen.set(line.hash, this.#line);
    this.#maxSeq = Math.max(this.#maxSeq, line.seq);
    this.#checkRecord(line);
    this.#checkProofs(line);
    this.#last = line;
  }

  finish(): AuditVerdict {
    const { ended, managerKey } = this.#expected;
    this.#line = 0;
    if (this.#last === null) this.#problem("the audit is empty");
    const furthest = Math.max(0, ...this.#proofs.keys());
    if (furthest > this.#maxSeq)
      this.#problem(
        `cut off: the manager signed record ${furthest}, the audit ends at record ${this.#maxSeq}`,
      );
    if (ended) {
      for (const [call, { seq }] of this.#open)
        this.#problem(
          `call ${call}, begun in record ${seq}, has no receipt although the run has ended`,
        );
      if (managerKey !== null && furthest < this.#maxSeq)
        this.#problem(
          `records ${furthest + 1} to ${this.#maxSeq} are not countersigned by the manager although the run has ended`,
        );
    }
    if (this.#unlisted > 0)
      this.#problems.push({ line: 0, problem: `and ${this.#unlisted} problems more` });
    return {
      ok: this.#problems.length === 0,
      run: this.#run,
      records: this.#maxSeq,
      calls: this.#calls,
      requests: this.#requests,
      epochs: this.#epochs,
      head: this.#last === null ? null : { seq: this.#last.seq, hash: this.#last.hash },
      countersigned: this.#countersigned,
      runnerKey: this.#key,
      problems: this.#problems,
    };
  }

  /** Number, link to the line before, and epoch. */
  #checkPlace(line: ChainedLine): void {
    const before = this.#last;
    const expected = (before?.seq ?? 0) + 1;
    const earlier = this.#seen.get(line.hash);
    if (earlier !== undefined)
      return this.#problem(`record ${line.seq} is a repetition of line ${earlier}`);
    if (line.seq < expected)
      this.#problem(`record ${line.seq} comes after record ${before?.seq}: out of order`);
    else if (line.seq > expected)
      this.#problem(
        line.seq === expected + 1
          ? `record ${expected} is missing`
          : `records ${expected} to ${line.seq - 1} are missing`,
      );
    else if (line.prev !== (before?.hash ?? firstPrev(this.#run ?? line.record.run)))
      this.#problem(
        before === null
          ? "the first record is not the beginning of this run's audit"
          : `record ${before.seq} was changed, or record ${line.seq} was put in its place: the hashes do not fit`,
      );
    const epoch = this.#epochs + (line.record.type === "epoch_started" ? 1 : 0);
    if (line.epoch !== epoch)
      this.#problem(`record ${line.seq} says epoch ${line.epoch}, expected ${epoch}`);
  }

  #checkRecord(line: ChainedLine): void {
    const { record, seq } = line;
    switch (record.type) {
      case "epoch_started":
        this.#epochs = Math.max(this.#epochs + 1, line.epoch);
        this.#key ??= record.key;
        if (record.key !== this.#key)
          this.#problem(`epoch ${line.epoch} names another key than the one registered`);
        if (!isSealed(line, this.#key))
          this.#problem(`the signature of epoch ${line.epoch} (record ${seq}) is not valid`);
        return;
      case "call_started":
        if (this.#open.has(record.call) || this.#ended.has(record.call))
          this.#problem(`call ${record.call} begins a second time`);
        this.#open.set(record.call, {
          start: record,
          seq,
          listed: 0,
          hash: createHash("sha256"),
        });
        return;
      case "request": {
        this.#requests += 1;
        const open = record.call === null ? undefined : this.#open.get(record.call);
        if (open !== undefined) {
          open.listed += 1;
          open.hash.update(line.hash);
        } else if (record.call !== null)
          this.#problem(`request of call ${record.call}, which is not running`);
        return;
      }
      case "call":
        this.#checkReceipt(line, record);
        return;
      case "overflow":
      case "credential":
      case "budget":
    }
  }

  #checkReceipt(line: ChainedLine, record: CallRecord): void {
    this.#calls += 1;
    const { call, receipt } = record;
    const at = `the receipt of call ${call} (record ${line.seq})`;
    if (this.#ended.has(call)) this.#problem(`${at} is a second one`);
    this.#ended.add(call);
    const open = this.#open.get(call);
    this.#open.delete(call);
    if (receipt === undefined) return this.#problem(`call ${call} has no receipt`);
    if (receipt.key !== this.#key) this.#problem(`${at} is of another key`);
    if (this.#key === null || !isSealed(line, this.#key))
      this.#problem(`the signature of ${at} is not valid`);
    const digest = (open?.hash ?? createHash("sha256")).digest("hex");
    const pairs: [string, unknown, unknown][] = [
      ["beginning", receipt.started, open?.seq ?? null],
      ["tool", record.tool, open?.start.tool ?? record.tool],
      ["operation", record.operation, open?.start.operation ?? record.operation],
      ["tool digest", receipt.digest, open?.start.digest ?? null],
      ["policy", receipt.policy, open?.start.policy ?? null],
      ["arguments", receipt.arguments, open?.start.arguments ?? null],
      ["number of requests", receipt.listed, open?.listed ?? 0],
      ["requests", receipt.requestsDigest, digest],
    ];
    for (const [what, said, found] of pairs)
      if (said !== found) this.#problem(`${at} does not fit: its ${what} differs from the records`);
  }

  #checkProofs(line: ChainedLine): void {
    for (const proof of this.#proofs.get(line.seq) ?? []) {
      if (proof.hash !== line.hash || proof.epoch !== line.epoch || proof.run !== this.#run)
        this.#problem(`record ${line.seq} is not the one that the manager signed at ${proof.time}`);
      else this.#countersigned = Math.max(this.#countersigned ?? 0, line.seq);
    }
  }

  #readProofs(): Map<number, Countersignature[]> {
    const { proofs, managerKey } = this.#expected;
    const bySeq = new Map<number, Countersignature[]>();
    if (managerKey === null) return bySeq;
    for (const [index, text] of proofs.entries()) {
      const proof = readProof(text);
      if (proof === null || proof.context !== "audit" || !isCountersigned(proof, managerKey)) {
        this.#problems.push({
          line: 0,
          problem: `countersignature ${index + 1} is not valid under the manager's key`,
        });
        continue;
      }
      bySeq.set(proof.at, [...(bySeq.get(proof.at) ?? []), proof]);
    }
    return bySeq;
  }

  #problem(problem: string): void {
    if (this.#problems.length < MAX_PROBLEMS) this.#problems.push({ line: this.#line, problem });
    else this.#unlisted += 1;
  }
}

function readProof(text: string): Countersignature | null {
  try {
    return Countersignature.parse(JSON.parse(text));
  } catch {
    return null;
  }
}
