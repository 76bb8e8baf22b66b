import type { SealedRecording } from "../protocol/child-status.ts";
import { shellSession, type GrantId, type RunId } from "../protocol/ids.ts";
import type { ShellInfo } from "../protocol/manager-api.ts";
import { AttachRelay } from "./attach-relay.ts";
import { OpenOnUse } from "./open-on-use.ts";
import type { RecordedSession } from "./recorded-session.ts";
import { RecordingFile } from "./recording-file.ts";
import { readRecordingFile, type RecordingReader } from "./recording-reader.ts";
import type { RecordingProofs } from "./recording-proofs.ts";
import type { RoleLink } from "./run.ts";
import type { RunStore } from "./run-store.ts";

export const SHELL_LIMITS = {
  /** how long a shell waits for its person, to come or to come back, before it is closed */
  personMs: 10_000,
};

/** Opens the proofs of a session of the run, which hold the run's key and the manager's. */
type OpenProofs = (session: string, path: string) => Promise<RecordingProofs>;

/** A shell in a run's zone A, for one grant: its facts, its recording, and the window it is shown in. */
export class Shell implements RecordedSession {
  readonly relay: AttachRelay;
  /** Only the recorder connects for a shell of its own; the agentlet speaks of it over the run's link. */
  readonly links: { recorder: RoleLink | null } = { recorder: null };
  readonly absentSince: { recorder: number | null } = { recorder: performance.now() };
  readonly #info: ShellInfo;
  readonly #store: RunStore;
  readonly #onEnded = new Set<() => void>();
  readonly #recording: OpenOnUse<RecordingFile>;
  readonly #proofs: OpenOnUse<RecordingProofs>;
  #epoch = 0;
  #isOpened = false;
  #hadPerson = false;
  #left: NodeJS.Timeout | undefined;

  constructor(info: ShellInfo, store: RunStore, openProofs: OpenProofs) {
    this.#info = info;
    this.#store = store;
    this.#recording = new OpenOnUse(() => RecordingFile.open(this.recordingPath));
    this.#proofs = new OpenOnUse(() =>
      openProofs(this.session, store.shellFile(info.run, info.grant_id, "proofs.jsonl")),
    );
    this.relay = new AttachRelay({
      grant: info.grant_id,
      argv: info.argv,
      size: info.terminal,
      onPeople: (count) => this.#expectPerson(count),
    });
    this.#expectPerson(0);
  }

  get grant(): GrantId {
    return this.#info.grant_id;
  }

  get id(): string {
    return this.session;
  }

  get session(): string {
    return shellSession(this.#info.run, this.#info.grant_id);
  }

  get info(): ShellInfo {
    return { ...this.#info, committedBytes: this.committedBytes };
  }

  /** Why nobody can enter it any more; null while its person can. */
  get over(): string | null {
    if (!this.isLive) return this.#info.reason ?? "The shell has ended";
    return this.relay.closing;
  }

  get isLive(): boolean {
    return this.#info.endedAt === null;
  }

  get terminal(): { cols: number; rows: number } {
    return this.#info.terminal;
  }

  get recordingPath(): string {
    return this.#store.shellFile(this.#info.run, this.#info.grant_id, "cast");
  }

  get committedBytes(): number {
    return this.#recording.opened?.committed ?? this.#info.committedBytes;
  }

  get sealed(): SealedRecording | null {
    return this.#info.recording;
  }

  readRecording(): Promise<RecordingReader | null> {
    return readRecordingFile(this.recordingPath);
  }

  recording(): Promise<RecordingFile> {
    return this.#recording.use();
  }

  recordingProofs(): Promise<RecordingProofs> {
    return this.#proofs.use();
  }

  /** The recorder has said that nothing follows: with it the session ends. */
  async setRecording(recording: SealedRecording): Promise<void> {
    this.#info.recording = recording;
    this.#info.committedBytes = recording.bytes;
    await this.end("its recording is complete");
    await this.save();
  }

  /** What an earlier manager left; until the recording is opened. */
  setCommittedBytes(bytes: number): void {
    this.#info.committedBytes = bytes;
  }

  onCommitted(listener: () => void): () => void {
    return this.#recording.opened?.onCommitted(listener) ?? ((): void => undefined);
  }

  onEnded(listener: () => void): () => void {
    this.#onEnded.add(listener);
    return () => this.#onEnded.delete(listener);
  }

  epochOf(): number {
    return this.#epoch;
  }

  async setEpoch(_role: string, epoch: number): Promise<void> {
    this.#epoch = epoch;
    await Promise.resolve();
  }

  /** The agentlet shows the shell, for the first time or again. */
  opened(snapshot: { offset: number; cols: number; rows: number; data: string }): void {
    this.#isOpened = true;
    this.relay.fromAgentlet({ kind: "attach_snapshot", attach: this.grant, ...snapshot });
  }

  /** The agentlet says that the shell is over; what its recording still lacks comes by the recorder. */
  async closedBy(reason: string, exitCode: number | null): Promise<void> {
    this.#info.exitCode ??= exitCode;
    this.#info.reason ??= reason;
    this.relay.end(reason);
    // Never opened, nothing is recorded of it and nothing will come.
    if (this.#isOpened) await this.save();
    else await this.end(reason);
  }

  async end(reason: string): Promise<void> {
    clearTimeout(this.#left);
    if (!this.isLive) return;
    this.#info.reason ??= reason;
    this.#info.endedAt = new Date().toISOString();
    this.#info.committedBytes = this.committedBytes;
    await this.save();
    this.relay.end(this.#info.reason);
    for (const listener of this.#onEnded) listener();
  }

  async save(): Promise<void> {
    await this.#store.saveShell(this.info);
  }

  async closeFiles(): Promise<void> {
    clearTimeout(this.#left);
    this.#info.committedBytes = this.committedBytes;
    await this.#recording.close();
    // After the recording: a proof that waits for bytes of it waits no longer.
    await this.#proofs.close();
  }

  #expectPerson(count: number): void {
    clearTimeout(this.#left);
    this.#hadPerson ||= count > 0;
    if (count > 0 || !this.isLive) return;
    const reason = this.#hadPerson ? "its person has left" : "nobody has come to it";
    const close = (): void => this.relay.closeShell(reason);
    this.#left = setTimeout(close, SHELL_LIMITS.personMs).unref();
  }
}

/** The first facts of a shell that nobody has opened yet. */
export function shellInfoOf(
  run: RunId,
  grant: GrantId,
  facts: Pick<ShellInfo, "terminal" | "argv" | "by">,
): ShellInfo {
  return {
    run,
    grant_id: grant,
    session: shellSession(run, grant),
    ...facts,
    openedAt: new Date().toISOString(),
    endedAt: null,
    reason: null,
    exitCode: null,
    recording: null,
    committedBytes: 0,
  };
}
