import type { WebSocket } from "ws";
import type { FollowMessage } from "../protocol/manager-api.ts";
import { CloseCode } from "../protocol/recording-link.ts";
import { readJournal } from "./journal.ts";
import type { Run } from "./run.ts";
import { closeSocket, drained, sendJson } from "./socket.ts";

/** What a follower that reads slowly may have waiting; beyond, it is closed and connects again with `from`. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;
/** Messages that come while the history is sent. */
const MAX_HELD = 10_000;

/** Sends a run, its events from `from` on, and both as they change, until the run has ended. */
export async function serveFollow(socket: WebSocket, run: Run, from: number): Promise<void> {
  const gone = new AbortController();
  let held: FollowMessage[] | null = [];
  let lastSeq = from - 1;

  function pass(message: FollowMessage): void {
    if ("seq" in message) {
      if (message.seq <= lastSeq) return;
      lastSeq = message.seq;
    }
    if (socket.bufferedAmount > MAX_WAITING_BYTES)
      return closeSocket(socket, CloseCode.unavailable, "Read too slowly; connect again");
    sendJson(socket, message);
    if ("kind" in message && message.info.phase === "ended") closeSocket(socket, 1000, "Run ended");
  }

  const unwatch = run.watch((message) => {
    if (held === null) pass(message);
    else if (held.length < MAX_HELD) held.push(message);
    else closeSocket(socket, CloseCode.unavailable, "Read too slowly; connect again");
  });
  socket.once("close", () => {
    unwatch();
    gone.abort();
  });

  sendJson(socket, { kind: "run", info: { ...run.info, phase: startPhase(run) } });
  for await (const line of readJournal(run.file("events.jsonl"), from)) {
    const { seq, ...event } = JSON.parse(line) as { seq: number };
    if (seq <= lastSeq) continue;
    lastSeq = seq;
    sendJson(socket, { seq, event });
    await drained(socket, MAX_WAITING_BYTES / 4, gone.signal);
    if (gone.signal.aborted) return;
  }
  const later = held;
  held = null;
  for (const message of later) pass(message);
  if (!run.isLive) pass({ kind: "run", info: run.info });
}

/** The first message never says `ended`: the follower would leave before the events. */
function startPhase(run: Run): "starting" | "running" | "ending" {
  const { phase } = run.info;
  return phase === "ended" ? "ending" : phase;
}
