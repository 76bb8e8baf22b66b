// What the recordings of other tools hold of a session's output, so that it can be compared with what was printed.
import { createReadStream } from "node:fs";
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";

/** Size and SHA-256 of what a recording gives back. */
export interface Recorded {
  bytes: number;
  sha256: string;
}

/** Of a stream of bytes. */
export async function digestOf(stream: AsyncIterable<Buffer>): Promise<Recorded> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += chunk.length;
    hash.update(chunk);
  }
  return { bytes, sha256: hash.digest("hex") };
}

/** Of a typescript: what stands between its first line and its last two. */
export async function bytesOfTypescript(path: string, size: number): Promise<Recorded> {
  let head = 0;
  for await (const chunk of createReadStream(path, { end: 4095 })) {
    head = (chunk as Buffer).indexOf("\n") + 1;
    break;
  }
  // With the end of its input `script` types an end of file, which the terminal shows.
  return await digestOf(createReadStream(path, { start: head, end: head + size - 1 }));
}

/** Of an asciicast v2, which can hold nothing that is not UTF-8. */
export async function bytesOfCast(path: string): Promise<Recorded> {
  return await digestOf(
    (async function* () {
      for await (const line of linesOf(path)) {
        if (!line.startsWith("[")) continue;
        const [, code, data] = JSON.parse(line) as [number, string, string];
        if (code === "o") yield Buffer.from(data);
      }
    })(),
  );
}

interface TlogMessage {
  timing: string;
  out_txt: string;
  out_bin: number[];
}

/** Of a recording by tlog: `timing` says which characters of the text stand for bytes that are not text. */
export async function bytesOfTlog(path: string): Promise<Recorded> {
  return await digestOf(
    (async function* () {
      for await (const line of linesOf(path)) {
        const { timing, out_txt, out_bin } = JSON.parse(line) as TlogMessage;
        const characters = Array.from(out_txt);
        let text = 0;
        let binary = 0;
        for (const [, kind, first, second] of timing.matchAll(/([<>[\]+=])(\d+)(?:[/x](\d+))?/g)) {
          if (kind === ">") {
            yield Buffer.from(characters.slice(text, text + Number(first)).join(""));
            text += Number(first);
          } else if (kind === "]") {
            yield Buffer.from(out_bin.slice(binary, binary + Number(second)));
            text += Number(first);
            binary += Number(second);
          }
        }
      }
    })(),
  );
}

function linesOf(path: string): AsyncIterable<string> {
  return createInterface({ input: createReadStream(path), crlfDelay: Infinity });
}

/** How many bytes are missing or too many; 1 when the size is right and the bytes are not. */
export function lostBytes(recorded: Recorded, printed: Recorded): number {
  if (recorded.sha256 === printed.sha256) return 0;
  return Math.max(1, Math.abs(printed.bytes - recorded.bytes));
}
