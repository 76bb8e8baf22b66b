import { matchesGlob, normalize } from "node:path";
import * as z from "zod";
import { parseJson } from "../../kit/json-lines.ts";
import { KEPT_SESSION_LIMITS } from "../../protocol/kept-session.ts";

const FileHead = z.strictObject({
  path: z.string().min(1).max(4096),
  bytes: z.int().nonnegative(),
  mtimeMs: z.int().nonnegative(),
});
type FileHead = z.infer<typeof FileHead>;

/** What stands in a kept session where a secret stood: as long as it is, in bytes. */
export function maskOf(secret: string): Buffer {
  return Buffer.alloc(Buffer.byteLength(secret), "agentkube-masked-");
}

/** The files of a session, as lines of zone A tell them. Takes nothing but whole files within the limits that fit a pattern. */
export class ToldFiles {
  readonly #patterns: readonly string[];
  readonly #files: { head: FileHead; data: Buffer }[] = [];
  #bytes = 0;
  /** how much of the last file was told */
  #told = 0;

  constructor(patterns: readonly string[]) {
    this.#patterns = patterns;
  }

  get count(): number {
    return this.#files.length;
  }

  /** of all files together */
  get bytes(): number {
    return this.#bytes;
  }

  /** Throws at what is no line of a session's files. */
  take(line: string): void {
    const [word = "", base64 = ""] = line.split(" ");
    const data = Buffer.from(base64, "base64");
    if (word === "file") return this.#begin(data.toString("utf8"));
    const last = this.#files.at(-1);
    if (word !== "data" || last === undefined) throw new Error("it said what is not understood");
    if (this.#told + data.length > last.data.length) throw new Error("a file is longer than told");
    data.copy(last.data, this.#told);
    this.#told += data.length;
  }

  /** Puts a mask of the same length in place of a value, so that a database stays as it is. */
  mask(secret: string): void {
    const mask = maskOf(secret);
    for (const { data } of this.#files)
      for (let at = data.indexOf(secret); at !== -1; at = data.indexOf(secret, at + mask.length))
        data.set(mask, at);
  }

  /** Of each file its head as a line of JSON, then its bytes. Throws when the last file is cut off. */
  archive(): Buffer {
    this.#requireWhole();
    return Buffer.concat(
      this.#files.flatMap(({ head, data }) => [Buffer.from(`${JSON.stringify(head)}\n`), data]),
    );
  }

  #begin(text: string): void {
    this.#requireWhole();
    const head = parseJson("a file of a session", FileHead, text);
    const isOwn =
      head.path === normalize(head.path) &&
      this.#patterns.some((pattern) => matchesGlob(head.path, pattern));
    if (!isOwn) throw new Error("it told a file that is none of the session's");
    this.#bytes += head.bytes;
    if (this.#bytes > KEPT_SESSION_LIMITS.bytes || this.count === KEPT_SESSION_LIMITS.files)
      throw new Error("it told more than is kept");
    this.#files.push({ head, data: Buffer.alloc(head.bytes) });
    this.#told = 0;
  }

  #requireWhole(): void {
    const last = this.#files.at(-1);
    if (last !== undefined && this.#told !== last.data.length) throw new Error("a file is cut off");
  }
}
