import type { WebSocket } from "ws";
import { parseEvent, stripComments } from "../protocol/asciicast.ts";
import { CloseCode } from "../protocol/recording-link.ts";
import { ALIS_MAGIC, alisEnd, alisEvent, alisInit } from "./alis.ts";
import { tailOf } from "./log-tail.ts";
import type { RecordedSession } from "./recorded-session.ts";
import { closeSocket, drained } from "./socket.ts";

/** The protocols of `/v1/runs/{run}/live`, the preferred one first. */
export const LIVE_PROTOCOLS = ["v1.alis", "v3.asciicast"] as const;

/** Players take a close with this code as the end of the session; after any other they connect again. */
const SESSION_ENDED = 4000;
/** Bytes that may wait for a slow viewer before the file is read on. */
const MAX_WAITING_BYTES = 1024 * 1024;

/** Sends a run's recording from the committed log, live: what the recorder has not made durable is not shown. */
export async function serveLive(socket: WebSocket, session: RecordedSession): Promise<void> {
  const gone = new AbortController();
  socket.once("close", () => gone.abort());
  socket.on("message", () => closeSocket(socket, CloseCode.badMessage, "Expected no message"));
  const history = session.committedBytes;
  if (socket.protocol === "v3.asciicast") await sendText(socket, session, history, gone.signal);
  else await sendAlis(socket, session, history, gone.signal);
  if (!gone.signal.aborted) closeSocket(socket, SESSION_ENDED, "Session ended");
}

async function sendText(
  socket: WebSocket,
  session: RecordedSession,
  history: number,
  signal: AbortSignal,
): Promise<void> {
  for await (const { lines } of tailOf(session, { history, follow: true }, signal)) {
    for (const line of lines) {
      const text = stripComments(line);
      if (text !== null && socket.readyState === socket.OPEN) socket.send(text);
    }
    await drained(socket, MAX_WAITING_BYTES, signal);
  }
}

/**
 * Someone who joins late gets all events so far at once, on an empty screen whose time is that of the last of them: the screen comes
 * out right whatever the program did, and nobody has to keep a terminal for it.
 */
async function sendAlis(
  socket: WebSocket,
  session: RecordedSession,
  history: number,
  signal: AbortSignal,
): Promise<void> {
  const send = (frame: Buffer): void => {
    if (socket.readyState === socket.OPEN) socket.send(frame);
  };
  const timeUs = await durationOf(session, history, signal);
  send(ALIS_MAGIC);
  send(alisInit({ timeUs, ...session.terminal }));
  let id = 0;
  let isHeader = true;
  let dtUs = 0;
  for await (const batch of tailOf(session, { history, follow: true }, signal)) {
    for (const line of batch.lines) {
      const text = stripComments(line);
      if (text === null) continue;
      if (isHeader) {
        isHeader = false;
        const size = sizeOfHeader(text);
        const resize =
          size === null ? null : alisEvent({ id: id + 1, dtUs: 0, code: "r", data: size });
        if (resize !== null) {
          id += 1;
          send(resize);
        }
        continue;
      }
      const event = parseEvent(text);
      if ("problem" in event) continue;
      if (!batch.history) dtUs += Math.round(event.time * 1e6);
      const frame = alisEvent({ id: id + 1, dtUs, code: event.code, data: event.data });
      // The time of an event that is left out goes to the next one.
      if (frame === null) continue;
      id += 1;
      dtUs = 0;
      send(frame);
    }
    await drained(socket, MAX_WAITING_BYTES, signal);
  }
  send(alisEnd(id + 1, dtUs));
}

/** The sum of the intervals in the first bytes of a recording, in microseconds. */
async function durationOf(
  session: RecordedSession,
  history: number,
  signal: AbortSignal,
): Promise<number> {
  let seconds = 0;
  for await (const { lines } of tailOf(session, { history, follow: false }, signal)) {
    for (const line of lines) seconds += Number(/^\[([0-9]+(?:\.[0-9]+)?),/.exec(line)?.[1] ?? 0);
  }
  return Math.round(seconds * 1e6);
}

/** `COLSxROWS` of a v3 header. */
function sizeOfHeader(line: string): string | null {
  try {
    const header = JSON.parse(line) as { term?: { cols?: unknown; rows?: unknown } } | null;
    const { cols, rows } = header?.term ?? {};
    return Number.isInteger(cols) && Number.isInteger(rows)
      ? `${String(cols)}x${String(rows)}`
      : null;
  } catch {
    return null;
  }
}
