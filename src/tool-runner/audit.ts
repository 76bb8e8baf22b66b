import { createHash, type Hash } from "node:crypto";
import type { SigningKey } from "../kit/signing.ts";
import type { AuditRecord } from "../protocol/audit.ts";
import { type ChainedLine, hashOf } from "../protocol/audit-chain.ts";
import type { CallId, RunId } from "../protocol/ids.ts";
import { AuditJournal } from "./audit-journal.ts";
import { chargeOf, type ModelUse } from "./boundary/model-budget.ts";

type RequestRecord = Extract<AuditRecord, { type: "request" }>;
type CallRecord = Extract<AuditRecord, { type: "call" }>;
type StartRecord = Extract<AuditRecord, { type: "call_started" }>;

/** Requests of one call, and of the agent in one period, that have a record of their own although no credential was in them. */
const PLAIN_LISTED = 100;
/** Beyond this size of the whole journal, requests are only counted; calls are kept always. */
const REQUESTS_LIMIT_BYTES = 64 * 1024 * 1024;
/** How often the agent's own uncounted requests are summed up. */
const PERIOD_MS = 60_000;

export interface AuditOptions {
  path: string;
  run: RunId;
  key: SigningKey;
  /** key of the arguments' digests; only its hash is written down */
  argumentsKey: Buffer;
}

/**
 * What a run's tool-runner puts on record: bounds the volume of each call, binds a call's requests to its receipt, and closes what an
 * earlier life left open. Requests that carried a credential are always listed; a flood of others is counted.
 */
export class Audit implements Disposable {
  readonly journal: AuditJournal;
  readonly #run: RunId;
  readonly #key: SigningKey;
  readonly #open = new Map<CallId, Tally>();
  #agent = new Tally();
  #agentSince = performance.now();
  readonly #modelUse: ModelUse = { requests: 0, inputTokens: 0, outputTokens: 0 };

  private constructor(journal: AuditJournal, { run, key }: AuditOptions) {
    this.journal = journal;
    this.#run = run;
    this.#key = key;
  }

  /** Opens the journal and begins an epoch. Calls that an earlier epoch left open get their receipt as `lost`. */
  static open(options: AuditOptions): Audit {
    const journal = AuditJournal.open(options.path, options);
    const audit = new Audit(journal, options);
    for (const line of journal.lines()) audit.#takeUp(line);
    journal.beginEpoch(hashOf(options.argumentsKey));
    for (const [id, tally] of audit.#open)
      if (tally.start !== null)
        audit.record(lostRecord(id, tally.start.record, tally.summary().listed));
    return audit;
  }

  /** Writes a record. Throws `PlatformError` `audit_unavailable` when that is not possible. */
  record(record: AuditRecord): void {
    if (record.type === "call_started") {
      const { seq } = this.journal.append(record);
      this.#open.set(record.call, new Tally({ seq, record }));
    } else if (record.type === "request") this.#request(record);
    else if (record.type === "call") this.#end(record);
    else this.journal.append(record);
  }

  /** What earlier epochs have put on record of the model's use. */
  get earlierModelUse(): Readonly<ModelUse> {
    return this.#modelUse;
  }

  /** Sums up what was only counted of the agent's own requests. To be called before the last flush to the manager. */
  sumUp(): void {
    const before = this.#agent;
    this.#agent = new Tally();
    this.#agentSince = performance.now();
    this.#sumUp(null, before);
  }

  [Symbol.dispose](): void {
    this.journal[Symbol.dispose]();
  }

  #request(record: RequestRecord): void {
    // A request that outlived its call counts with the agent's: the receipt is signed, and nothing is added to it.
    const open = record.call === null ? undefined : this.#open.get(record.call);
    const tally = open ?? this.#agent;
    const isListed =
      this.journal.size < REQUESTS_LIMIT_BYTES &&
      (record.credential !== null || tally.plain < PLAIN_LISTED);
    if (isListed) {
      tally.list(this.journal.append(record));
      if (record.credential === null) tally.plain += 1;
    } else tally.drop(record);
    if (open === undefined && performance.now() - this.#agentSince > PERIOD_MS) this.sumUp();
  }

  #end(record: CallRecord): void {
    const tally = this.#open.get(record.call) ?? new Tally();
    this.#sumUp(record.call, tally);
    const start = tally.start;
    this.journal.append({
      ...record,
      receipt: {
        key: this.#key.publicKey,
        started: start?.seq ?? null,
        digest: start?.record.digest ?? null,
        policy: start?.record.policy ?? null,
        arguments: start?.record.arguments ?? null,
        ...tally.summary(),
      },
    });
    this.#open.delete(record.call);
  }

  #sumUp(call: CallId | null, tally: Tally): void {
    const { requests, verdicts, bytesUp, bytesDown } = tally.dropped;
    if (requests === 0) return;
    this.journal.append({
      type: "overflow",
      time: new Date().toISOString(),
      run: this.#run,
      call,
      requests,
      verdicts,
      bytesUp,
      bytesDown,
    });
  }

  /** Learns from a line of an earlier epoch what is still open. */
  #takeUp(line: ChainedLine): void {
    const { record } = line;
    if (record.type === "call_started")
      this.#open.set(record.call, new Tally({ seq: line.seq, record }));
    if (record.type === "request" && record.call !== null) this.#open.get(record.call)?.list(line);
    if (record.type === "call") this.#open.delete(record.call);
    if (record.type === "request" && record.usage !== undefined) {
      const { inputTokens, outputTokens } = chargeOf(record);
      this.#modelUse.requests += 1;
      this.#modelUse.inputTokens += inputTokens;
      this.#modelUse.outputTokens += outputTokens;
    }
  }
}

/** The requests of one call, or of the agent in one period. */
class Tally {
  readonly start: { seq: number; record: StartRecord } | null;
  readonly dropped = {
    requests: 0,
    verdicts: {} as Partial<Record<RequestRecord["verdict"], number>>,
    bytesUp: 0,
    bytesDown: 0,
  };
  /** listed requests without a credential */
  plain = 0;
  #listed = 0;
  readonly #hash: Hash = createHash("sha256");

  constructor(start: { seq: number; record: StartRecord } | null = null) {
    this.start = start;
  }

  list(line: ChainedLine): void {
    this.#listed += 1;
    this.#hash.update(line.hash);
  }

  drop({ verdict, bytesUp, bytesDown }: RequestRecord): void {
    this.dropped.requests += 1;
    this.dropped.verdicts[verdict] = (this.dropped.verdicts[verdict] ?? 0) + 1;
    this.dropped.bytesUp += bytesUp;
    this.dropped.bytesDown += bytesDown;
  }

  summary(): { listed: number; dropped: number; requestsDigest: string } {
    return {
      listed: this.#listed,
      dropped: this.dropped.requests,
      requestsDigest: this.#hash.copy().digest("hex"),
    };
  }
}

function lostRecord(id: CallId, start: StartRecord, requests: number): AuditRecord {
  return {
    type: "call",
    time: new Date().toISOString(),
    run: start.run,
    call: id,
    tool: start.tool,
    operation: start.operation,
    outcome: "lost",
    exitCode: null,
    detail: { cause: "The tool-runner ended while the call was running" },
    tier: null,
    // A clock that was set back in between must not make it negative.
    durationMs: Math.max(0, Date.now() - Date.parse(start.time)),
    requests,
    masked: 0,
  };
}
