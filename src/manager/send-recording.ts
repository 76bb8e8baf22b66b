import { open } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { PlatformError } from "../kit/platform-error.ts";
import { endOfWholeLines } from "./durable-file.ts";
import type { RecordedSession } from "./recorded-session.ts";
import { DATA_HEADERS } from "./reply.ts";

/** Sends the committed bytes up to the last whole line: a player stops with an error at a torn one. Throws `not_found`. */
export async function sendRecording(
  { request, response }: { request: IncomingMessage; response: ServerResponse },
  session: RecordedSession,
): Promise<void> {
  const handle = await open(session.recordingPath, "r").catch(() => null);
  if (handle === null)
    throw new PlatformError("not_found", `Session "${session.session}" has no recording yet`, {
      fix: "look again once it is running; runs with recording.enabled false have none",
    });
  try {
    const whole = await endOfWholeLines(handle, session.committedBytes);
    response.writeHead(200, {
      ...DATA_HEADERS,
      "content-type": "application/x-asciicast",
      "content-length": whole,
      "content-disposition": `attachment; filename="${session.session}.cast"`,
    });
    if (request.method === "HEAD" || whole === 0) response.end();
    else
      await pipeline(
        handle.createReadStream({ autoClose: false, start: 0, end: whole - 1 }),
        response,
      );
  } finally {
    await handle.close();
  }
}
