import type { WebSocket } from "ws";
import { stripComments } from "../protocol/asciicast.ts";
import { parseEvent } from "../protocol/asciicast-event.ts";
import { ALIS_MAGIC, alisEnd, alisEvent, alisInit } from "./alis.ts";
import { sizeOfHeader } from "./build-replay-index.ts";
import { tailOf } from "./log-tail.ts";
import type { RecordedSession } from "./recorded-session.ts";
import type { Replays } from "./replays.ts";
import { closeSocket, drained } from "./socket.ts";

/** The protocols of `/v1/runs/{run}/live`, the preferred one first. */
export const LIVE_PROTOCOLS = ["v1.alis", "v3.asciicast"] as const;

/** Players take a close with this code as the end of the session; after any other they connect again. */
const SESSION_ENDED = 4000;
export const LIVE_LIMITS = {
  /** bytes that may wait for a slow viewer before the file is read on */
  waitingBytes: 1024 * 1024,
  /** a session shorter than this is sent whole to who joins late; of a longer one, the screen and what follows it */
  wholeBytes: 512 * 1024,
  /** a viewer that is further behind than this gets the screen as it is now instead of what it missed */
  lagBytes: 4 * 1024 * 1024,
};

/** Sends a session's recording from the committed log, live: what the recorder has not made durable is not shown. */
export async function serveLive(
  socket: WebSocket,
  session: RecordedSession,
  replays: Replays,
): Promise<void> {
  const gone = new AbortController();
  socket.once("close", () => gone.abort());
  const speech = socket.protocol === "v3.asciicast" ? new CastSpeech() : new AlisSpeech();
  const viewer = { socket, session, replays, speech };
  let place: number | null = null;
  do place = await follow(viewer, place, gone.signal);
  while (place !== null);
  if (!gone.signal.aborted) closeSocket(socket, SESSION_ENDED, "Session ended");
}

interface Viewer {
  socket: WebSocket;
  session: RecordedSession;
  replays: Replays;
  speech: Speech;
}

/**
 * Paints the screen as it is and sends what follows, to the end of the session: null. Gives the place instead where a viewer has
 * fallen too far behind and has to begin anew; it is joined with what is committed by then.
 */
async function follow(
  { socket, session, replays, speech }: Viewer,
  before: number | null,
  signal: AbortSignal,
): Promise<number | null> {
  const history = session.committedBytes;
  const send = (messages: (Buffer | string)[]): void => {
    for (const message of messages) if (socket.readyState === socket.OPEN) socket.send(message);
  };
  const isLong = history > LIVE_LIMITS.wholeBytes;
  if (isLong && before === null) send(speech.prepare(session.terminal));
  const join = isLong ? await joinOf(session, replays, history, signal) : null;
  const timeUs = join?.timeUs ?? (await durationOf(session, { from: 0, history }, signal));
  send(speech.begin({ ...session.terminal, ...join?.segment, timeUs }));
  const from = join?.segment.offset ?? 0;
  for await (const batch of tailOf(session, { from, history, follow: true }, signal)) {
    for (const line of batch.lines) {
      const text = stripComments(line);
      if (text !== null) send(speech.line(text, batch.history));
    }
    await drained(socket, LIVE_LIMITS.waitingBytes, signal);
    // Read and sent as fast as it goes, and still far behind: what is shown now is worth more than what was.
    const isBehind = session.committedBytes - batch.end > LIVE_LIMITS.lagBytes;
    if (isBehind && !batch.history && !signal.aborted) return batch.end;
  }
  if (!signal.aborted) send(speech.end());
  return null;
}

/** The last screen before the end of the history, and the time at that end. */
async function joinOf(
  session: RecordedSession,
  replays: Replays,
  history: number,
  signal: AbortSignal,
) {
  const index = await replays.recent(session).catch(() => null);
  const segment = index?.segments.findLast(({ offset }) => offset <= history);
  if (segment === undefined) return null;
  const sinceUs = await durationOf(session, { from: segment.offset, history }, signal);
  return { segment, timeUs: segment.baseMs * 1000 + sinceUs };
}

/** The sum of the intervals in a part of a recording, in microseconds. */
async function durationOf(
  session: RecordedSession,
  { from, history }: { from: number; history: number },
  signal: AbortSignal,
): Promise<number> {
  let seconds = 0;
  for await (const { lines } of tailOf(session, { from, history, follow: false }, signal)) {
    for (const line of lines) seconds += Number(/^\[([0-9]+(?:\.[0-9]+)?),/.exec(line)?.[1] ?? 0);
  }
  return Math.round(seconds * 1e6);
}

interface Start {
  cols: number;
  rows: number;
  timeUs: number;
  screen?: string;
}

/** How a viewer is spoken to. The lines that come are those of the recording, without comments. */
interface Speech {
  /** Something to show while a long session is looked through. */
  prepare(size: { cols: number; rows: number }): (Buffer | string)[];
  /** The screen at the beginning, and at each new one. */
  begin(start: Start): (Buffer | string)[];
  line(text: string, isHistory: boolean): (Buffer | string)[];
  end(): (Buffer | string)[];
}

/**
 * ALiS. Someone who joins late gets what was before at once, on a screen whose time is that of the last of it: the screen comes out
 * right whatever the program did.
 */
class AlisSpeech implements Speech {
  #id = 0;
  #dtUs = 0;
  #started = false;
  #isHeader = true;

  prepare(size: { cols: number; rows: number }): Buffer[] {
    this.#started = true;
    const screen = "\x1b[2mA long session: its screen is being worked out…\x1b[0m";
    return [ALIS_MAGIC, alisInit({ ...size, timeUs: 0, screen })];
  }

  begin({ cols, rows, timeUs, screen }: Start): Buffer[] {
    const magic = this.#started ? [] : [ALIS_MAGIC];
    this.#started = true;
    this.#dtUs = 0;
    this.#isHeader = screen === undefined;
    const painted = screen === undefined ? {} : { screen };
    return [...magic, alisInit({ timeUs, cols, rows, lastId: this.#id, ...painted })];
  }

  line(text: string, isHistory: boolean): Buffer[] {
    if (this.#isHeader) {
      this.#isHeader = false;
      const size = sizeOfHeader(text);
      return size === null ? [] : this.#frame("r", `${size.cols}x${size.rows}`);
    }
    const event = parseEvent(text);
    if ("problem" in event) return [];
    if (!isHistory) this.#dtUs += Math.round(event.time * 1e6);
    return this.#frame(event.code, event.data);
  }

  end(): Buffer[] {
    return [alisEnd(this.#id + 1, this.#dtUs)];
  }

  #frame(code: string, data: string): Buffer[] {
    const frame = alisEvent({ id: this.#id + 1, dtUs: this.#dtUs, code, data });
    // The time of an event that is left out goes to the next one.
    if (frame === null) return [];
    this.#id += 1;
    this.#dtUs = 0;
    return [frame];
  }
}

/** The lines of an asciicast v3. A screen in the middle is a resize and an output. */
class CastSpeech implements Speech {
  #hasHeader = false;

  prepare({ cols, rows }: { cols: number; rows: number }): string[] {
    this.#hasHeader = true;
    return [JSON.stringify({ version: 3, term: { cols, rows } })];
  }

  begin({ cols, rows, screen }: Start): string[] {
    if (screen === undefined) return [];
    const header = this.#hasHeader ? [] : this.prepare({ cols, rows });
    const clean = `\x1bc${screen}`;
    return [...header, `[0.000, "r", "${cols}x${rows}"]`, `[0.000, "o", ${JSON.stringify(clean)}]`];
  }

  line(text: string): string[] {
    if (!text.startsWith("[")) {
      if (this.#hasHeader) return [];
      this.#hasHeader = true;
    }
    return [text];
  }

  end(): string[] {
    return [];
  }
}
