import { createHash } from "node:crypto";
import { errnoOf } from "../kit/platform-error.ts";
import { type RedactionTable, redactWhole } from "../kit/redactor.ts";
import type { OmittedFile, ToolCallReply } from "../protocol/tool-api.ts";
import type { FilePattern, PatternPart } from "./file-patterns.ts";
import { mediaTypeOf } from "./media-type.ts";
import type { OpenedDirectory } from "../kit/opened-directory.ts";

/** A file that a tool gave as a result: whole, and masked like all that a tool says. */
export interface ResultFile {
  readonly path: string;
  readonly bytes: Buffer;
  readonly mediaType: string;
  /** hex, of `bytes` */
  readonly sha256: string;
}

/** What a call's operation declared and what of it was there. */
export interface ResultFiles {
  readonly files: readonly ResultFile[];
  /** what fits a pattern and is not given, and why */
  readonly omitted: readonly OmittedFile[];
}

/** The same as programs are told it; nothing when there is nothing. */
export function repliedFiles({
  files,
  omitted,
}: ResultFiles): Pick<ToolCallReply, "files" | "omittedFiles"> {
  const given = files.map(({ path, mediaType, bytes, sha256 }) => {
    const base64 = bytes.toString("base64");
    return { path, mediaType, bytes: bytes.length, sha256, base64 };
  });
  return {
    ...(given.length === 0 ? {} : { files: given }),
    ...(omitted.length === 0 ? {} : { omittedFiles: [...omitted] }),
  };
}

export const NO_FILES: ResultFiles = { files: [], omitted: [] };

/** How many files a call gives, how long their paths are, and how many names are looked at to find them. */
export const FILE_LIMITS = { files: 32, pathBytes: 512, omitted: 32, names: 20_000 } as const;
const PIECE_BYTES = 256 * 1024;

export interface CollectOptions {
  patterns: readonly FilePattern[];
  /** of all files together */
  maxBytes: number;
  secrets: RedactionTable | null;
}

/**
 * Reads the files that fit the patterns beneath a directory that a tool worked in and that it may have left in any state: regular
 * files only, no link followed at any step, each whole or not at all. Call it once the tool is dead. Throws the signal's reason.
 */
export async function collectFiles(
  directory: OpenedDirectory,
  options: CollectOptions,
  signal: AbortSignal,
): Promise<ResultFiles & { masked: number }> {
  const collection = new Collection(options, signal);
  for (const { text, parts } of options.patterns) await collection.look(directory, [], parts, text);
  return collection.result;
}

class Collection {
  readonly #options: CollectOptions;
  readonly #signal: AbortSignal;
  readonly #seen = new Set<string>();
  readonly #files: ResultFile[] = [];
  readonly #omitted: OmittedFile[] = [];
  #bytes = 0;
  #names = 0;
  #masked = 0;

  constructor(options: CollectOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  get result(): ResultFiles & { masked: number } {
    return { files: this.#files, omitted: this.#omitted, masked: this.#masked };
  }

  /** Finds what fits `parts` in `directory`, which lies at `path`. */
  async look(
    directory: OpenedDirectory,
    path: readonly string[],
    parts: readonly PatternPart[],
    pattern: string,
  ): Promise<void> {
    const [part, ...rest] = parts;
    if (part === undefined) return;
    if ("name" in part) return await this.#step(directory, [...path, part.name], rest, pattern);
    const names: string[] = [];
    for await (const { name } of directory.entries()) {
      this.#signal.throwIfAborted();
      this.#names += 1;
      if (this.#names > FILE_LIMITS.names) {
        this.#omit(pattern, "too_many");
        break;
      }
      if (part.fits(name)) names.push(name);
    }
    for (const name of names.sort()) await this.#step(directory, [...path, name], rest, pattern);
  }

  /** The entry that `path` ends with: a file to take when the pattern ends here, else a directory to look into. */
  async #step(
    directory: OpenedDirectory,
    path: readonly string[],
    rest: readonly PatternPart[],
    pattern: string,
  ): Promise<void> {
    this.#signal.throwIfAborted();
    if (rest.length === 0) return await this.#take(directory, path);
    await using inner = await directory.descend([path.at(-1) ?? ""]);
    if (inner !== null) await this.look(inner, path, rest, pattern);
  }

  async #take(directory: OpenedDirectory, path: readonly string[]): Promise<void> {
    const raw = path.join("/");
    const name = path.at(-1) ?? "";
    if (this.#seen.has(raw) || (await directory.look(name)) === null) return;
    this.#seen.add(raw);
    const shown = redactWhole(this.#options.secrets, Buffer.from(raw, "latin1"));
    // Whoever gets a file has to be able to say its name again.
    if (shown.masked > 0) return this.#omit(shown.bytes.toString("utf8"), "bad_name");
    const text = Buffer.from(raw, "latin1").toString("utf8");
    const isSame = Buffer.from(text).equals(Buffer.from(raw, "latin1"));
    if (!isSame || raw.length > FILE_LIMITS.pathBytes) return this.#omit(text, "bad_name");
    if (this.#files.length >= FILE_LIMITS.files) return this.#omit(text, "too_many");
    const read = await this.#read(directory, name);
    if (!Buffer.isBuffer(read)) return this.#omit(text, read);
    const { bytes, masked } = redactWhole(this.#options.secrets, read);
    this.#masked += masked;
    this.#bytes += bytes.length;
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    this.#files.push({ path: text, bytes, mediaType: mediaTypeOf(text, bytes), sha256 });
  }

  /** All bytes of a file, or why not. It may grow or be something else at any moment: a live workspace is the agent's too. */
  async #read(directory: OpenedDirectory, name: string): Promise<Buffer | OmittedFile["why"]> {
    const left = this.#options.maxBytes - this.#bytes;
    let file;
    try {
      file = await directory.openFile(name);
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      return "unreadable";
    }
    if (file === null) return "not_a_file";
    try {
      if ((await file.stat()).size > left) return "too_large";
      const pieces: Buffer[] = [];
      for (let had = 0; ;) {
        this.#signal.throwIfAborted();
        const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, left - had + 1));
        const { bytesRead } = await file.read(piece, 0, piece.length, null);
        if (bytesRead === 0) return Buffer.concat(pieces);
        had += bytesRead;
        if (had > left) return "too_large";
        pieces.push(piece.subarray(0, bytesRead));
      }
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      return "unreadable";
    } finally {
      await file.close();
    }
  }

  #omit(path: string, why: OmittedFile["why"]): void {
    if (this.#omitted.length >= FILE_LIMITS.omitted) return;
    this.#omitted.push({ path: path.slice(0, FILE_LIMITS.pathBytes), why });
  }
}
