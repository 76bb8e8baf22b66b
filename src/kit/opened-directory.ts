import { closeSync, constants, type Dirent, type Stats } from "node:fs";
import fs from "node:fs/promises";
import { errnoOf } from "./platform-error.ts";

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * A directory held open, whose entries are reached by one name each. Since Node has no openat(2), a name is looked up below
 * `/proc/self/fd/N`: what others rename or replace by links in the meantime cannot lead out of the directory.
 *
 * Names are bytes, written as latin1 strings, so that a name that is not UTF-8 survives.
 */
export class OpenedDirectory implements AsyncDisposable {
  readonly #handle: fs.FileHandle;

  private constructor(handle: fs.FileHandle) {
    this.#handle = handle;
  }

  /** Opens by a path we chose ourselves; its last part may not be a link. */
  static async open(path: string): Promise<OpenedDirectory> {
    return new OpenedDirectory(await fs.open(path, DIRECTORY));
  }

  /** Opens a real path that others may replace meanwhile; throws ELOOP when a link on the way led elsewhere. */
  static async openReal(path: string): Promise<OpenedDirectory> {
    const opened = await OpenedDirectory.open(path);
    if ((await fs.readlink(`/proc/self/fd/${opened.#handle.fd}`)) === path) return opened;
    await opened[Symbol.asyncDispose]();
    throw Object.assign(new Error("ELOOP: a link lies on the way to a workspace"), {
      code: "ELOOP",
    });
  }

  /** Takes a descriptor over, whatever it is said to be; it is closed in any case. */
  static async adopt(descriptor: number): Promise<OpenedDirectory> {
    try {
      const path = `/proc/self/fd/${descriptor}`;
      return new OpenedDirectory(await fs.open(path, constants.O_RDONLY | constants.O_DIRECTORY));
    } finally {
      closeSync(descriptor);
    }
  }

  async openDirectory(name: string): Promise<OpenedDirectory> {
    return new OpenedDirectory(await fs.open(this.at(name), DIRECTORY));
  }

  /** Follows names one by one; null when one of them is missing or not a directory (a link is not one). */
  async descend(names: readonly string[]): Promise<OpenedDirectory | null> {
    let current = new OpenedDirectory(
      await fs.open(`/proc/self/fd/${this.#handle.fd}`, constants.O_RDONLY | constants.O_DIRECTORY),
    );
    for (const name of names) {
      try {
        const next = await current.openDirectory(name);
        await current[Symbol.asyncDispose]();
        current = next;
      } catch (error) {
        await current[Symbol.asyncDispose]();
        if (["ENOENT", "ENOTDIR", "ELOOP"].includes(errnoOf(error) ?? "")) return null;
        throw error;
      }
    }
    return current;
  }

  /** The path of an entry, valid while this directory is open. */
  at(name: string): Buffer {
    if (name === "" || name === "." || name === ".." || name.includes("/") || name.includes("\0"))
      throw new RangeError("Expected the name of one directory entry");
    return Buffer.concat([
      Buffer.from(`/proc/self/fd/${this.#handle.fd}/`),
      Buffer.from(name, "latin1"),
    ]);
  }

  /** As they are read: a directory may hold millions. */
  async *entries(): AsyncGenerator<Dirent> {
    // Node cannot give Dirents with latin1 names, so names come as bytes. Its types do not know that they may.
    const encoding = "buffer" as BufferEncoding;
    const path = `/proc/self/fd/${this.#handle.fd}`;
    for await (const entry of await fs.opendir(path, { encoding, bufferSize: 256 }))
      yield Object.assign(entry, { name: (entry.name as unknown as Buffer).toString("latin1") });
  }

  /** What an entry is, links not followed; null when there is none. */
  async look(name: string): Promise<Stats | null> {
    try {
      return await fs.lstat(this.at(name));
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return null;
      throw error;
    }
  }

  /** Opens a regular file for reading; null when the entry is something else, gone, not ours to read, or held by a lease. Never waits. */
  async openFile(name: string): Promise<fs.FileHandle | null> {
    const flags =
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
    let handle: fs.FileHandle;
    try {
      handle = await fs.open(this.at(name), flags);
    } catch (error) {
      if (["ENOENT", "ELOOP", "ENXIO", "ENODEV", "EACCES", "EAGAIN"].includes(errnoOf(error) ?? ""))
        return null;
      throw error;
    }
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
    return null;
  }

  /** Makes a new file, with exactly these mode bits; throws EEXIST when the name is taken. */
  async createFile(name: string, mode: number): Promise<fs.FileHandle> {
    const handle = await fs.open(
      this.at(name),
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      mode,
    );
    await handle.chmod(mode);
    return handle;
  }

  async makeDirectory(name: string, mode: number): Promise<void> {
    await fs.mkdir(this.at(name), { mode });
    // By descriptor: the name may lead to a link by now, and a mode set by name follows it.
    await using made = await this.openDirectory(name);
    await made.#handle.chmod(mode);
  }

  async rename(from: string, to: string): Promise<void> {
    await fs.rename(this.at(from), this.at(to));
  }

  /** Moves an entry into another directory of the same file system. */
  async moveTo(from: string, other: OpenedDirectory, to: string): Promise<void> {
    await fs.rename(this.at(from), other.at(to));
  }

  /** Lets us list and change a directory of ours whose bits forbid it. */
  async openUp(name: string): Promise<void> {
    await fs.chmod(this.at(name), 0o700);
  }

  async unlink(name: string): Promise<void> {
    await fs.unlink(this.at(name));
  }

  async removeDirectory(name: string): Promise<void> {
    await fs.rmdir(this.at(name));
  }

  async stat(): Promise<Stats> {
    return this.#handle.stat();
  }

  /** Changes the directory's owner when this process is root; nobody else can or needs to. */
  async giveTo(uid: number, gid: number): Promise<void> {
    if (process.getuid?.() === 0) await this.#handle.chown(uid, gid);
  }

  async sync(): Promise<void> {
    await this.#handle.sync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}
