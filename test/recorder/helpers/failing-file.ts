import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";

const OPERATIONS = ["write", "datasync"] as const;

/** A real file of which one operation, counted from 0 over writes and syncs, fails: before it began, or after half of it. */
export class FailingFile {
  readonly #failAt: number;
  readonly #code: string;
  readonly #half: boolean;
  count = 0;

  constructor(failAt: number, code: string, half: boolean) {
    this.#failAt = failAt;
    this.#code = code;
    this.#half = half;
  }

  readonly open = async (path: string, flags: number, mode: number): Promise<FileHandle> => {
    const file = await open(path, flags, mode);
    for (const name of OPERATIONS) {
      const real = file[name].bind(file) as (...args: unknown[]) => Promise<unknown>;
      const failing = async (...args: unknown[]): Promise<unknown> => {
        const turn = this.count;
        this.count += 1;
        if (turn !== this.#failAt) return await real(...args);
        const [bytes, offset, length, position] = args;
        // Some of it may be on the disk all the same.
        if (this.#half && name === "write")
          await real(bytes, offset, Math.floor(Number(length) / 2), position);
        throw Object.assign(new Error(`${this.#code}: made for the test`), { code: this.#code });
      };
      Object.defineProperty(file, name, { value: failing });
    }
    return file;
  };
}
