import type { WebSocket } from "ws";
import type { Log } from "../kit/log.ts";
import { messageOf } from "../kit/platform-error.ts";
import { countStreamed } from "../kit/stream-garbage.ts";
import {
  CloseCode,
  decodeAppend,
  MAX_APPEND_BYTES,
  RecorderMessage,
  type RecordingReply,
} from "../protocol/recording-link.ts";
import type { SignedCheckpoint } from "../protocol/recording-proof.ts";
import type { Admission, Place } from "./admission.ts";
import type { RecordedSession } from "./recorded-session.ts";
import type { RecordingFile } from "./recording-file.ts";
import type { RecordingProofs } from "./recording-proofs.ts";
import { LinkRefusal, type LinkHandler } from "./role-link.ts";
import { closeSocket, sendJson } from "./socket.ts";

const IDLE_ACK_MS = 5000;
/** A recorder that is no further ahead needs no place: a thousand sessions that begin at once are no storm of backlogs. */
const SMALL_BACKLOG_BYTES = 64 * 1024;
/** Checkpoints that wait for their bytes to be durable. */
const MAX_PROVING = 64;

/**
 * The recorder's side of a session: appends by offset, durable acknowledgements, and the proof at the end. Until it has caught up
 * with a backlog that it had when it came, it holds a place.
 */
export function recorderLink(
  socket: WebSocket,
  session: RecordedSession,
  { log, admission }: { log: Log; admission: Admission },
): LinkHandler<Exclude<RecorderMessage, { kind: "hello" }>> {
  let recording: RecordingFile | null = null;
  let proofs: RecordingProofs | null = null;
  const proving = new Set<Promise<void>>();
  let unsubscribe: (() => void) | null = null;
  let idle: NodeJS.Timeout | null = null;
  let closed = false;
  let place: Place | null = null;
  let backlogEnd = 0;

  function reply(message: RecordingReply): void {
    sendJson(socket, message);
    // Silence means death to the recorder, so an idle link says again what it has.
    idle?.refresh();
  }

  function acknowledge(): void {
    if (recording === null) return;
    const failure = recording.takeFailure();
    if (failure !== null)
      return closeSocket(
        socket,
        CloseCode.unavailable,
        `The manager cannot write: ${messageOf(failure)}`,
      );
    reply({ kind: "committed", bytes: recording.committed });
    if (recording.committed >= backlogEnd) place?.leave();
    else place?.progress();
  }

  /** A proof that cannot be taken is missing later, and `recording verify` says so; the recording goes on. */
  async function prove(signed: SignedCheckpoint, file: RecordingFile): Promise<void> {
    try {
      const next = await proofs?.take(signed, file);
      if (next !== undefined && !closed) reply({ kind: "proven", next });
    } catch (error) {
      log.warn({ session: session.session, err: error }, "checkpoint of the recording not taken");
    }
  }

  return {
    role: "recorder",
    schema: RecorderMessage,
    admit({ bytes = 0 }) {
      // A recorder always has what we have of it: this is another one, and must not take the place of the one that is here.
      if (bytes < session.committedBytes)
        throw new LinkRefusal(
          CloseCode.fenced,
          `Expected the spool of this recording, with at least ${session.committedBytes} bytes, got ${bytes}`,
        );
      if (bytes - session.committedBytes <= SMALL_BACKLOG_BYTES) return;
      const admitted = admission.enter(session.session);
      if ("retryAfterMs" in admitted) {
        sendJson(socket, {
          kind: "retry_after",
          ms: admitted.retryAfterMs,
        } satisfies RecordingReply);
        throw new LinkRefusal(CloseCode.busy, "Too many recorders catch up; come back later");
      }
      place = admitted;
      backlogEnd = bytes;
    },
    async welcome() {
      recording = await session.recording();
      await recording.flushed();
      proofs = await session.recordingProofs().catch((error: unknown) => {
        log.error({ session: session.session, err: error }, "proofs cannot be opened");
        return null;
      });
      if (closed) return;
      unsubscribe?.();
      unsubscribe = recording.onCommitted(acknowledge);
      idle ??= setInterval(acknowledge, IDLE_ACK_MS);
      idle.unref();
      // First, so that the recorder knows it before it sends its first byte.
      if (proofs !== null) reply({ kind: "proven", next: proofs.next });
      acknowledge();
    },
    async binary(bytes) {
      const append = decodeAppend(bytes);
      if (append === null || recording === null)
        throw new LinkRefusal(
          CloseCode.badMessage,
          "Expected an append: u64 offset, CRC-32 and bytes",
        );
      if (append.bytes.length > MAX_APPEND_BYTES)
        throw new LinkRefusal(
          CloseCode.tooLarge,
          `Expected at most ${MAX_APPEND_BYTES} bytes in one append, got ${append.bytes.length}`,
        );
      if (!Number.isSafeInteger(append.offset))
        throw new LinkRefusal(CloseCode.badMessage, "The offset of an append is out of range");
      const sealed = session.sealed?.verified === true ? session.sealed.bytes : null;
      if (sealed !== null && append.offset + append.bytes.length > sealed)
        throw new LinkRefusal(CloseCode.fenced, `The recording is verified at ${sealed} bytes`);
      const result = await recording.append(append.offset, append.bytes);
      if (result === "conflict")
        throw new LinkRefusal(
          CloseCode.fenced,
          `The bytes at offset ${append.offset} differ from those the manager has`,
        );
      if (result !== "taken") acknowledge();
      countStreamed(bytes.length);
    },
    async message(message) {
      if (recording === null) throw new LinkRefusal(CloseCode.badMessage, "Expected a hello first");
      if (message.kind === "checkpoint") {
        const { kind: _, ...signed } = message;
        // After a failed write it has less than it took: the recorder is told of that, not of the checkpoint.
        if (signed.checkpoint.bytes > recording.received) await recording.flushed();
        if (signed.checkpoint.bytes > recording.received)
          throw new LinkRefusal(
            CloseCode.badMessage,
            `Expected a checkpoint of at most the ${recording.received} bytes that came, got ${signed.checkpoint.bytes}`,
          );
        if (proving.size >= MAX_PROVING) await Promise.race(proving);
        const taking = prove(signed, recording);
        proving.add(taking);
        void taking.finally(() => proving.delete(taking));
        return;
      }
      const ours = await recording.digest();
      if (ours.bytes === message.bytes) await Promise.all(proving);
      const verified = ours.bytes === message.bytes && ours.sha256 === message.sha256;
      await session.setRecording({ ...ours, verified });
      reply({ kind: verified ? "verified" : "mismatch", ...ours });
    },
    closed() {
      closed = true;
      place?.leave();
      unsubscribe?.();
      if (idle !== null) clearInterval(idle);
    },
  };
}
