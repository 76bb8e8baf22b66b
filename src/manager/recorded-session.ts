import type { SealedRecording } from "../protocol/child-status.ts";
import type { RecordingFile } from "./recording-file.ts";
import type { RecordingReader } from "./recording-reader.ts";
import type { RecordingProofs } from "./recording-proofs.ts";

/** A terminal that is recorded: a run's own, or that of a shell in it. Viewers and the recorder's link see no more of it. */
export interface RecordedSession {
  /** as `/v1/recordings/{session}` names it */
  readonly session: string;
  readonly isLive: boolean;
  readonly terminal: { readonly cols: number; readonly rows: number };
  /** where the recording lies; it is there once `committedBytes` is more than 0, and what is worked out from it lies beside it */
  readonly recordingPath: string;
  /** Bytes of the recording that are durable. */
  readonly committedBytes: number;
  readonly sealed: SealedRecording | null;
  /** Opened on first use, and closed with the session. */
  recording(): Promise<RecordingFile>;
  /** For those who only read; null while there is no recording. */
  readRecording(): Promise<RecordingReader | null>;
  /** The proofs beside it, opened and closed as the recording is. */
  recordingProofs(): Promise<RecordingProofs>;
  setRecording(recording: SealedRecording): Promise<void>;
  /** Calls the listener when more is committed, while the recording is open; returns what removes it. */
  onCommitted(listener: () => void): () => void;
  /** Calls the listener when the session has ended; returns what removes it. */
  onEnded(listener: () => void): () => void;
}
