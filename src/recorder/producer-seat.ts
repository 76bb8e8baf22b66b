import type { Socket } from "node:net";
import { writeJsonLine } from "../kit/json-lines.ts";
import type { Log } from "../kit/log.ts";
import { messageOf } from "../kit/platform-error.ts";
import { countStreamed } from "../kit/stream-garbage.ts";
import { BadFrameError, FrameReader } from "../protocol/frames.ts";
import type { RecorderReply } from "../protocol/frames.ts";
import type { Recording } from "./recording.ts";

/** A producer that comes back may be here before its old connection is seen to end. */
const HANDOVER_MS = 500;
/** Replies that a producer does not read. */
const MAX_UNREAD_REPLY_BYTES = 256 * 1024;

/** The one place of a producer at a recording: its frames go in, durable ones are acknowledged. */
export class ProducerSeat {
  readonly #recording: Recording;
  readonly #log: Log;
  #producer: Socket | null = null;
  /** producers that were refused: beside another one, or for what they sent */
  refused = 0;

  constructor(recording: Recording, log: Log) {
    this.#recording = recording;
    this.#log = log;
  }

  /** Whether a producer is connected, or one that left has sent what is not yet taken. */
  get isTaken(): boolean {
    return this.#producer !== null;
  }

  /** Serves a connection that has proven itself, to its end. A second producer is refused. */
  async serve(socket: Socket): Promise<void> {
    await this.#handover();
    if (socket.destroyed) return;
    if (this.#producer !== null) {
      this.refused += 1;
      this.#log.warn("second producer refused");
      refuse(socket, "producer_present", "Another producer is connected to this recorder");
      return;
    }
    this.#producer = socket;
    try {
      await Promise.all([this.#read(socket), this.#acknowledge(socket)]);
    } finally {
      this.#producer = null;
      this.#recording.changed.ring();
    }
  }

  /** Waits a little for the producer before this one to be gone. */
  async #handover(): Promise<void> {
    const { changed } = this.#recording;
    const until = performance.now() + HANDOVER_MS;
    const timer = setTimeout(() => changed.ring(), HANDOVER_MS + 1);
    while (this.#producer !== null && performance.now() < until) await changed.next;
    clearTimeout(timer);
  }

  async #read(socket: Socket): Promise<void> {
    const recording = this.#recording;
    const log = this.#log;
    const reader = new FrameReader();
    try {
      for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
        if (!Buffer.isBuffer(chunk)) continue;
        for (const frame of reader.push(chunk)) recording.take(frame);
        countStreamed(chunk.length);
        await recording.room();
      }
    } catch (error) {
      if (error instanceof BadFrameError) {
        this.refused += 1;
        log.warn({ err: error }, "bad frame, connection closed");
        refuse(socket, "bad_frame", messageOf(error));
      } else if (!socket.destroyed) throw error;
    } finally {
      // The other half waits for the close.
      if (!socket.destroyed) socket.destroySoon();
    }
  }

  /** Welcome first, then an `ack` after each sync that made frames durable, and `sealed` at the end. */
  async #acknowledge(socket: Socket): Promise<void> {
    const recording = this.#recording;
    const log = this.#log;
    socket.once("close", () => recording.changed.ring());
    const { seq, out, in: typed, ended } = recording.durable;
    reply(socket, { kind: "welcome", seq, outputOffset: out, inputOffset: typed });
    let acknowledged = seq;
    let sealed = false;
    let held = false;
    let full = false;
    if (ended) {
      reply(socket, { kind: "sealed" });
      sealed = true;
    }
    while (!socket.destroyed) {
      await recording.changed.next;
      // Another recording may go on with what is durable; this one takes nothing more.
      if (recording.hasFailed) socket.destroy();
      if (socket.destroyed || !socket.writable) continue;
      const { durable, isWaitingForMore } = recording;
      if (isWaitingForMore && !held) reply(socket, { kind: "ack", seq: durable.seq, held: true });
      else if (durable.seq > acknowledged) reply(socket, { kind: "ack", seq: durable.seq });
      held = isWaitingForMore;
      if (recording.mustStop && !full && !durable.ended) {
        log.error("spool is full, the run has to end");
        reply(socket, { kind: "full" });
        full = true;
      }
      acknowledged = durable.seq;
      if (durable.ended && !sealed) reply(socket, { kind: "sealed" });
      sealed ||= durable.ended;
      if (socket.writableLength > MAX_UNREAD_REPLY_BYTES) {
        log.warn("producer does not read its replies, connection closed");
        socket.destroy();
      }
    }
  }
}

type Refusal = Extract<RecorderReply, { kind: "refused" }>;

/** Tells a producer why it is not served, and closes its connection. */
export function refuse(socket: Socket, code: Refusal["code"], message: string): void {
  reply(socket, { kind: "refused", code, message });
  socket.destroySoon();
}

function reply(socket: Socket, message: RecorderReply): void {
  if (socket.writable) writeJsonLine(socket, message);
}
