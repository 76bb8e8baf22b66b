import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { PlatformError } from "../kit/platform-error.ts";
import type { AgentletEvent } from "../protocol/agentlet-link.ts";
import type { AuditRecord } from "../protocol/audit.ts";
import type { SealedRecording } from "../protocol/child-status.ts";
import type { Countersignature, Countersigned } from "../protocol/countersignature.ts";
import type { FollowMessage, RunInfo } from "../protocol/manager-api.ts";
import type { RunEnd } from "../protocol/outcome.ts";
import { AttachRelay } from "./attach-relay.ts";
import { AuditFile } from "./audit-file.ts";
import { EventBudget } from "./event-budget.ts";
import type { Identity } from "./identity.ts";
import { Journal } from "./journal.ts";
import { OpenOnUse } from "./open-on-use.ts";
import type { RecordedSession } from "./recorded-session.ts";
import { RecordingFile } from "./recording-file.ts";
import { readRecordingFile, type RecordingReader } from "./recording-reader.ts";
import { RecordingProofs } from "./recording-proofs.ts";
import { RunShells } from "./run-shells.ts";
import type { RunFileName, RunRecord, RunStore } from "./run-store.ts";

/** The newest calls that `RunInfo` names; all of them are in the audit. */
const MAX_CALLS = 1000;

const GROWTH_MS = 1000;

/** The roles that connect with a token of their own. */
export type Role = "agentlet" | "recorder" | "runner";

/** A role's connection, for those who have to end it. */
export interface RoleLink {
  close(code: number, reason: string): void;
  /** Resolves when what arrived before has been handled. */
  idle(): Promise<void>;
}

/** A run as this manager holds it: its facts, its files while they are open, and those who watch it. */
export class Run implements RecordedSession {
  readonly relay = new AttachRelay();
  readonly shells: RunShells;
  readonly eventBudget = new EventBudget();
  /** The connection of each role; the newest one wins. */
  readonly links: Record<Role, RoleLink | null> = { agentlet: null, recorder: null, runner: null };
  /** Since when a role has no connection, in `performance.now()` time; null while it has one. */
  readonly absentSince: Record<Role, number | null>;
  readonly #record: RunRecord;
  readonly #store: RunStore;
  readonly #identity: Identity;
  readonly #watchers = new Set<(message: FollowMessage) => void>();
  readonly #events: OpenOnUse<Journal>;
  readonly #audit: OpenOnUse<AuditFile>;
  readonly #recording: OpenOnUse<RecordingFile>;
  /** beside the recording */
  readonly #proofs: OpenOnUse<RecordingProofs>;
  #growth: NodeJS.Timeout | null = null;
  #saving: Promise<void> = Promise.resolve();
  /** The end the agentlet reported, which an adopted run keeps. */
  #reportedEnd: RunEnd | null = null;

  constructor(record: RunRecord, store: RunStore, identity: Identity) {
    this.#record = record;
    this.#store = store;
    this.#identity = identity;
    const now = performance.now();
    this.absentSince = { agentlet: now, recorder: now, runner: now };
    this.shells = new RunShells(this, store);
    this.#events = new OpenOnUse(() => Journal.open(this.file("events.jsonl")));
    this.#audit = new OpenOnUse(() => this.#openAudit());
    this.#recording = new OpenOnUse(async () => {
      const file = await RecordingFile.open(this.recordingPath);
      file.onCommitted(() => this.#announceSoon());
      return file;
    });
    this.#proofs = new OpenOnUse(() =>
      this.openProofs(this.id, this.file("recording.proofs.jsonl")),
    );
  }

  get id(): string {
    return this.#record.info.run;
  }

  get session(): string {
    return this.id;
  }

  get terminal(): { cols: number; rows: number } {
    return this.#record.info.terminal;
  }

  get recordingPath(): string {
    return this.file("recording.cast");
  }

  get sealed(): SealedRecording | null {
    return this.#record.info.recording;
  }

  get record(): Readonly<RunRecord> {
    return this.#record;
  }

  get info(): RunInfo {
    return { ...this.#record.info, committedBytes: this.committedBytes };
  }

  /** What is told to whoever asks now: what is true of this moment only is never written down. */
  get infoNow(): RunInfo {
    const since = this.absentSince.agentlet;
    if (since === null || !this.isLive) return this.info;
    return { ...this.info, agentletAwayMs: Math.round(performance.now() - since) };
  }

  /** Bytes of the recording that are durable. */
  get committedBytes(): number {
    return this.#recording.opened?.committed ?? this.#record.info.committedBytes;
  }

  get isLive(): boolean {
    return this.#record.info.phase !== "ended";
  }

  /** It has ended, or its agentlet says that it does. */
  get isEnding(): boolean {
    const { phase } = this.#record.info;
    return phase === "ending" || phase === "ended";
  }

  get reportedEnd(): RunEnd | null {
    return this.#reportedEnd;
  }

  // Files are opened on first use and closed with the run.

  events(): Promise<Journal> {
    return this.#events.use();
  }

  audit(): Promise<AuditFile> {
    return this.#audit.use();
  }

  recording(): Promise<RecordingFile> {
    return this.#recording.use();
  }

  recordingProofs(): Promise<RecordingProofs> {
    return this.#proofs.use();
  }

  /** The key that a pod's container made at its first start. Another one later is not believed: throws `run_exists`. */
  async useKey(role: "runner" | "recorder", key: string | undefined): Promise<void> {
    const field = role === "runner" ? "runnerKey" : "recorderKey";
    const known = this.#record[field];
    if (key !== undefined && (known === undefined || known === key)) {
      this.#record[field] = key;
      if (known === undefined) await this.save();
      return;
    }
    throw new PlatformError("run_exists", `Run "${this.id}" has a ${role} with another key`, {
      fix: "a container keeps its key in its volume; start the run again with a new pod",
    });
  }

  readRecording(): Promise<RecordingReader | null> {
    return readRecordingFile(this.recordingPath);
  }

  /** Proofs of a session of this run, of its own or a shell's: they hold the run's key and the manager's. */
  async openProofs(session: string, path: string): Promise<RecordingProofs> {
    return await RecordingProofs.open({
      path,
      session,
      recorderKey: this.#record.recorderKey,
      countersign: (what) => this.countersign("recording", what),
    });
  }

  async #openAudit(): Promise<AuditFile> {
    return await AuditFile.open({
      run: this.id,
      path: this.file("audit.jsonl"),
      proofsPath: this.file("audit.proofs.jsonl"),
      runnerKey: this.#record.runnerKey,
      countersign: (epoch, { seq, hash }) => this.countersign("audit", { epoch, at: seq, hash }),
    });
  }

  file(name: RunFileName): string {
    return this.#store.file(this.#record.info.run, name);
  }

  /** Applies an event that is on disk. */
  noteEvent(seq: number, event: AgentletEvent): void {
    const { info } = this.#record;
    let changed = false;
    if (event.type === "state") {
      changed = info.state !== event.state;
      info.state = event.state;
    } else if (event.type === "ended") {
      this.#reportedEnd = event.end;
      info.state = "exited";
      changed = true;
    }
    if (event.type === "ended") this.setPhase("ending");
    else if (event.type === "state" && info.phase === "starting" && event.state !== "starting")
      this.setPhase("running");
    for (const watcher of this.#watchers) watcher({ seq, event });
    if (changed) this.announce();
  }

  /** Applies an audit record that is on disk. */
  noteAudit(record: AuditRecord): void {
    if (record.type !== "call") return;
    const { tool, operation, outcome, durationMs } = record;
    this.#record.info.calls.push({ tool, operation, outcome, durationMs });
    if (this.#record.info.calls.length > MAX_CALLS) this.#record.info.calls.shift();
    this.announce();
  }

  setPhase(phase: "running" | "ending"): void {
    const rank = { starting: 0, running: 1, ending: 2, ended: 3 };
    if (rank[phase] <= rank[this.#record.info.phase]) return;
    this.#record.info.phase = phase;
    this.announce();
  }

  async setRecording(recording: SealedRecording): Promise<void> {
    this.#record.info.recording = { ...recording, path: this.file("recording.cast") };
    await this.save();
    this.announce();
  }

  epochOf(role: Role): number {
    return this.#record.epochs[role];
  }

  async setEpoch(role: Role, epoch: number): Promise<void> {
    if (this.#record.epochs[role] === epoch) return;
    this.#record.epochs[role] = epoch;
    await this.save();
  }

  /** Passes the wish on at once; a full disk keeps it only from a manager after this one. */
  async askStop(by: string): Promise<void> {
    this.#record.stopAskedBy ??= by;
    this.relay.stop(by);
    await this.save().catch(() => undefined);
  }

  /** Waits until everything that the roles sent so far is handled. */
  async settled(): Promise<void> {
    await Promise.all(Object.values(this.links).map(async (link) => await link?.idle()));
  }

  /** The last act: writes the end, tells everyone, closes the files. While the end cannot be written the run stays live. */
  async end(end: RunEnd): Promise<void> {
    const { info } = this.#record;
    const { phase, state, endedAt } = info;
    info.committedBytes = this.committedBytes;
    info.end = end;
    info.endedAt = new Date().toISOString();
    info.phase = "ended";
    info.state = "exited";
    try {
      await this.save();
    } catch (error) {
      // Whoever ends it tries again; until then the file and we say the same.
      Object.assign(info, { phase, state, endedAt, end: null });
      throw error;
    }
    this.announce();
    // Opened so that closing it keeps the last countersignature, also when no runner came back to this manager.
    if (existsSync(this.file("audit.jsonl"))) await this.audit().catch(() => undefined);
    this.relay.end(`Run ${end.outcome}: ${end.reason}`);
    for (const link of Object.values(this.links)) link?.close(1000, "Run ended");
    await this.shells.end();
    await this.closeFiles();
  }

  setCommittedBytes(bytes: number): void {
    this.#record.info.committedBytes = bytes;
  }

  /** Calls the watcher for every later event and change; returns what removes it. */
  watch(watcher: (message: FollowMessage) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Calls the listener when more is committed, while the recording is open; returns what removes it. */
  onCommitted(listener: () => void): () => void {
    return this.#recording.opened?.onCommitted(listener) ?? ((): void => undefined);
  }

  onEnded(listener: () => void): () => void {
    return this.watch((message) => {
      if ("kind" in message && message.info.phase === "ended") listener();
    });
  }

  /** The windows of the agent's own terminal, and that of each shell. */
  get relays(): AttachRelay[] {
    return [this.relay, ...[...this.shells].map((shell) => shell.relay)];
  }

  announce(): void {
    const info = this.info;
    for (const watcher of this.#watchers) watcher({ kind: "run", info });
  }

  /**
   * The manager's signed word on what this run durably has: `at` is the sequence number of the audit's head or the recording's
   * length, `hash` the SHA-256 (hex) of the head's line or of these bytes. To be called after the fdatasync.
   */
  countersign(
    context: Countersigned["context"],
    what: Pick<Countersigned, "epoch" | "at" | "hash">,
  ): Countersignature {
    return this.#identity.countersign({ context, run: this.id, ...what });
  }

  /** Writes run.json; writes of one run never overlap, and the last state wins. */
  save(): Promise<void> {
    const turn = this.#saving.then(async () => {
      await mkdir(this.#store.directory(this.#record.info.run), { recursive: true, mode: 0o700 });
      await this.#store.save({ ...this.#record, info: this.info });
    });
    this.#saving = turn.catch(() => undefined);
    return turn;
  }

  async closeFiles(): Promise<void> {
    clearTimeout(this.#growth ?? undefined);
    this.#growth = null;
    await this.#events.close();
    await this.#audit.close();
    this.#record.info.committedBytes = this.committedBytes;
    await this.#recording.close();
    await this.#proofs.close();
    await this.shells.closeFiles();
    await this.#saving;
  }

  /** The growth of the recording is told at most once a second. */
  #announceSoon(): void {
    this.#growth ??= setTimeout(() => {
      this.#growth = null;
      this.announce();
    }, GROWTH_MS).unref();
  }
}
