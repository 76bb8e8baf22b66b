import { join, matchesGlob } from "node:path";
import timers from "node:timers/promises";
import type { Log } from "../kit/log.ts";
import { OpenedDirectory } from "../kit/opened-directory.ts";
import type { Sandbox } from "../kit/sandbox.ts";
import { type Driver, HOME } from "./drivers/driver.ts";

export const TRANSCRIPT_LIMITS = {
  /** entries of directories that one look passes, whatever they are */
  entries: 1024,
  /** files that one look measures */
  files: 256,
  /** directories below a `**` */
  depth: 8,
  /** how long the end waits for a look that is under way */
  closeMs: 1000,
};

/** How much of its session a CLI has written down: files of zone A, and so a claim, as all that it says. */
export interface TranscriptSize {
  bytes: number;
  /** since a look first saw its files as they are now; null: they have not changed in this run */
  grownMsAgo: number | null;
}

/**
 * Watches the files in which a CLI keeps its session, from outside and without its help. A look goes from the opened HOME name by name,
 * follows no link, opens nothing but directories, and ends at its limits, whatever the agent has made there.
 */
export class TranscriptGrowth implements AsyncDisposable {
  readonly #home: OpenedDirectory;
  readonly #patterns: readonly string[][];
  #looking: Promise<void> | null = null;
  #seen = { bytes: 0, mark: "" };
  #grownAtMs: number | null = null;

  private constructor(home: OpenedDirectory, patterns: readonly string[]) {
    this.#home = home;
    this.#patterns = patterns.map((pattern) => pattern.split("/"));
  }

  /**
   * To be called before anything runs that could replace HOME; what is there by then has not grown in this run. Patterns are relative to
   * HOME, `**` only as their last part. Throws when HOME cannot be opened.
   */
  static async open(home: string, patterns: readonly string[]): Promise<TranscriptGrowth> {
    const growth = new TranscriptGrowth(await OpenedDirectory.open(home), patterns);
    await growth.look();
    growth.#grownAtMs = null;
    return growth;
  }

  /** What the last look has seen; null when there was no file. */
  get size(): TranscriptSize | null {
    if (this.#seen.mark === "") return null;
    const grownMsAgo =
      this.#grownAtMs === null ? null : Math.round(performance.now() - this.#grownAtMs);
    return { bytes: this.#seen.bytes, grownMsAgo };
  }

  /** Looks, once at a time: whoever asks meanwhile gets the look that is under way. Never rejects. */
  look(): Promise<void> {
    this.#looking ??= this.#look()
      // What could not be read is looked at again next time.
      .catch(() => undefined)
      .finally(() => {
        this.#looking = null;
      });
    return this.#looking;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { closeMs } = TRANSCRIPT_LIMITS;
    await Promise.race([this.#looking, timers.setTimeout(closeMs, undefined, { ref: false })]);
    await this.#home[Symbol.asyncDispose]();
  }

  async #look(): Promise<void> {
    const look = new Look();
    for (const pattern of this.#patterns) await look.into(this.#home, pattern);
    const { bytes, mark } = look;
    if (mark === this.#seen.mark) return;
    this.#seen = { bytes, mark };
    this.#grownAtMs = performance.now();
  }
}

/** To be called before the CLI runs. Null when nobody knows where it keeps its session, or its HOME cannot be seen from here. */
export async function watchTranscript(
  { rootPath }: Pick<Sandbox, "rootPath">,
  { session }: Driver,
  log: Log,
): Promise<TranscriptGrowth | null> {
  if (session === undefined || rootPath === undefined) return null;
  const patterns = [...session.files("*"), ...(session.logs ?? [])];
  try {
    return await TranscriptGrowth.open(join(rootPath, HOME), patterns);
  } catch (error) {
    log.warn({ err: error }, "heartbeats tell nothing of the CLI's transcript");
    return null;
  }
}

/** One look: what the files of some patterns come to. */
class Look {
  #bytes = 0;
  #files = 0;
  #entries = 0;
  #newestMs = 0;

  /** A hole in a file may be of any size, and what is told must be a number that everybody can read. */
  get bytes(): number {
    return Math.min(this.#bytes, Number.MAX_SAFE_INTEGER);
  }

  /** Another one when a file is new, gone, longer, shorter or written anew; empty without a file. */
  get mark(): string {
    return this.#files === 0 ? "" : `${this.#files} ${this.#bytes} ${this.#newestMs}`;
  }

  async into(directory: OpenedDirectory, pattern: readonly string[], depth = 0): Promise<void> {
    const [part = "", ...rest] = pattern;
    const isDeep = part === "**";
    if (!isDeep && !part.includes("*")) return await this.#entry(directory, part, rest, depth);
    for await (const entry of directory.entries()) {
      this.#entries += 1;
      if (this.#isFull) return;
      if (isDeep)
        await this.#entry(directory, entry.name, entry.isDirectory() ? ["**"] : [], depth);
      else if (matchesGlob(entry.name, part)) await this.#entry(directory, entry.name, rest, depth);
    }
  }

  get #isFull(): boolean {
    return this.#entries > TRANSCRIPT_LIMITS.entries || this.#files >= TRANSCRIPT_LIMITS.files;
  }

  async #entry(
    directory: OpenedDirectory,
    name: string,
    rest: readonly string[],
    depth: number,
  ): Promise<void> {
    if (this.#isFull) return;
    if (rest.length === 0) {
      const facts = await directory.look(name);
      if (facts?.isFile() !== true) return;
      this.#files += 1;
      this.#bytes += facts.size;
      this.#newestMs = Math.max(this.#newestMs, facts.mtimeMs);
      return;
    }
    if (rest[0] === "**" && depth >= TRANSCRIPT_LIMITS.depth) return;
    // Gone, a link, or a directory that the agent has closed: none of them ends the look.
    const below = await directory.openDirectory(name).catch(() => null);
    if (below === null) return;
    try {
      await this.into(below, rest, depth + 1);
    } finally {
      await below[Symbol.asyncDispose]();
    }
  }
}
