import type { Socket } from "node:net";
import { parseJson } from "../kit/json-lines.ts";
import { LineSplitter } from "../kit/line-splitter.ts";
import type { Log } from "../kit/log.ts";
import { MarkerLine } from "../protocol/frames.ts";
import { ProvenServer } from "./proven-server.ts";
import type { Recording } from "./recording.ts";

const MAX_LINE_BYTES = 32 * 1024;

export interface MarkerSocketOptions {
  path: string;
  token: string;
  recording: Recording;
  /** permissions of the socket, default 0600 */
  mode?: number;
  log: Log;
}

/** The marker socket: JSON lines of the tool-runner become marker events. A line that is not one closes the connection. */
export async function listenForMarkers(options: MarkerSocketOptions): Promise<AsyncDisposable> {
  const { path, token, mode = 0o600, log } = options;
  return ProvenServer.listen({
    path,
    mode,
    token,
    role: "runner",
    log,
    onProven: (socket) => {
      readMarkers(socket, options.recording).catch((error: unknown) => {
        log.warn({ err: error }, "marker connection closed");
        socket.destroy();
      });
    },
  });
}

async function readMarkers(socket: Socket, recording: Recording): Promise<void> {
  const lines = new LineSplitter(MAX_LINE_BYTES);
  const tooLong = () => new RangeError(`Expected a marker of at most ${MAX_LINE_BYTES} bytes`);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    lines.push(chunk, (line) => {
      if (line === null) throw tooLong();
      const marker = parseJson("a marker", MarkerLine, line.toString("utf8"));
      recording.mark(marker.label, marker.timeUs);
    });
    if (lines.isOverlong) throw tooLong();
    // The disk sets the pace here too.
    await recording.room();
  }
}
