import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { PlatformError } from "../kit/platform-error.ts";
import { endOfWholeLines } from "./durable-file.ts";
import type { RecordedSession } from "./recorded-session.ts";
import { blocksOf } from "./recording-file.ts";
import { DATA_HEADERS } from "./reply.ts";

/** Sends the committed bytes up to the last whole line: a player stops with an error at a torn one. Throws `not_found`. */
export async function sendRecording(
  { request, response }: { request: IncomingMessage; response: ServerResponse },
  session: RecordedSession,
): Promise<void> {
  await using reader = await session.readRecording();
  if (reader === null)
    throw new PlatformError("not_found", `Session "${session.session}" has no recording yet`, {
      fix: "look again once it is running; runs with recording.enabled false have none",
    });
  const whole = await endOfWholeLines(reader, session.committedBytes);
  response.writeHead(200, {
    ...DATA_HEADERS,
    "content-type": "application/x-asciicast",
    "content-length": whole,
    "content-disposition": `attachment; filename="${session.session}.cast"`,
  });
  if (request.method === "HEAD" || whole === 0) response.end();
  else await pipeline(copiesOf(blocksOf(reader, 0, whole)), response);
}

/** The response keeps what it cannot send yet, and a block is good only until the next one. */
async function* copiesOf(blocks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const block of blocks) yield Buffer.from(block);
}
