import type { Socket } from "node:net";
import { parseJson } from "../kit/json-lines.ts";
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
  let held: Buffer = Buffer.alloc(0);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    let from = 0;
    for (let at = held.indexOf(10); at !== -1; at = held.indexOf(10, from)) {
      const marker = parseJson("a marker", MarkerLine, held.toString("utf8", from, at));
      recording.mark(marker.label, marker.timeUs);
      from = at + 1;
    }
    held = Buffer.from(held.subarray(from));
    if (held.length > MAX_LINE_BYTES)
      throw new RangeError(`Expected a marker of at most ${MAX_LINE_BYTES} bytes`);
    // The disk sets the pace here too.
    await recording.room();
  }
}
