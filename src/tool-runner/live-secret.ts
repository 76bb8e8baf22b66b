import { timingSafeEqual } from "node:crypto";
import { PlatformError } from "../kit/platform-error.ts";
import { SecretSourceError } from "../kit/secret-sources.ts";
import type { SecretProvider } from "./secret-providers.ts";

/** A value that is lent for one request. Disposing it ends the watch over it. */
export interface Lease extends Disposable {
  readonly value: Buffer;
  /** N of the value, from 1; it tells nothing of the value */
  readonly version: number;
  /** aborted when the source has no value any more: what is open with it must be closed */
  readonly revoked: AbortSignal;
}

export interface LiveSecretOptions {
  /** NAME/KEY */
  id: string;
  provider: SecretProvider;
  /** the value read before the run began: version 1 */
  value: Buffer;
  /** Called with each new value before anybody gets it: it must be masked from then on. */
  learn(value: Buffer): void;
  /** Called after each change, for the record; `problem` null: there is a value. */
  onChange(change: { version: number | null; problem: string | null }): void;
}

/** One secret over its life: read anew for every use, in order, and taken back from whoever uses it when it is gone. */
export class LiveSecret {
  readonly #options: LiveSecretOptions;
  #current: Buffer | null;
  #version = 1;
  #revocation = new AbortController();
  #problem: string | null = null;
  #running: Promise<void> | null = null;
  #next: Promise<void> | null = null;
  #leases = 0;
  #timer: NodeJS.Timeout | null = null;
  readonly #wiped = new AbortController();

  constructor(options: LiveSecretOptions) {
    this.#options = options;
    this.#current = options.value;
  }

  /**
   * Reads the value now and lends it. Throws `PlatformError` `secret_unavailable` without a word of the source's own when there is
   * none; an older value is never used instead.
   */
  async lend(): Promise<Lease> {
    await this.#refresh();
    const { id } = this.#options;
    if (this.#current === null || this.#wiped.signal.aborted)
      throw new PlatformError(
        "secret_unavailable",
        `Secret "${id}" has no value now: ${this.#problem ?? "the run has ended"}`,
        { fix: "see that its file or command gives the whole value, then try again" },
      );
    this.#leases += 1;
    this.#watch();
    let isOpen = true;
    return {
      value: this.#current,
      version: this.#version,
      revoked: this.#revocation.signal,
      [Symbol.dispose]: () => {
        if (isOpen) this.#leases -= 1;
        isOpen = false;
      },
    };
  }

  /** The last value that is known, for what cannot wait; undefined when there is none any more. */
  get known(): Buffer | undefined {
    return this.#wiped.signal.aborted ? undefined : (this.#current ?? undefined);
  }

  /** Overwrites the value and ends every watch. Nothing is lent after this. */
  wipe(): void {
    this.#wiped.abort(new SecretSourceError("the run has ended"));
    clearTimeout(this.#timer ?? undefined);
    this.#current?.fill(0);
    this.#current = null;
    this.#revocation.abort();
  }

  /** At most one read runs and one waits: who comes while one runs gets what a read that begins later finds. */
  #refresh(): Promise<void> {
    if (this.#running === null) {
      this.#running = this.#read().finally(() => (this.#running = null));
      return this.#running;
    }
    this.#next ??= this.#running.then(() => {
      this.#next = null;
      return this.#refresh();
    });
    return this.#next;
  }

  async #read(): Promise<void> {
    const { provider } = this.#options;
    try {
      const value = await provider.resolve(this.#wiped.signal);
      if (this.#wiped.signal.aborted) return;
      if (isSame(value, this.#current)) {
        value.fill(0);
        return;
      }
      this.#options.learn(value);
      this.#version += 1;
      this.#current = value;
      // Who still uses the value before may go on; after a revocation this is a new beginning.
      if (this.#revocation.signal.aborted) this.#revocation = new AbortController();
      this.#change(null);
    } catch (error) {
      if (this.#wiped.signal.aborted) return;
      const problem =
        error instanceof SecretSourceError
          ? error.message
          : "its source failed for a reason unknown";
      this.#current = null;
      this.#revocation.abort();
      if (problem !== this.#problem) this.#change(problem);
    }
  }

  #change(problem: string | null): void {
    this.#problem = problem;
    this.#options.onChange({ version: problem === null ? this.#version : null, problem });
  }

  /** While something is open with the value, its source is looked at again and again. */
  #watch(): void {
    const { watchMs } = this.#options.provider;
    if (watchMs === null || this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#leases === 0 || this.#wiped.signal.aborted) return;
      void this.#refresh().then(() => this.#watch());
    }, watchMs).unref();
  }
}

function isSame(left: Buffer, right: Buffer | null): boolean {
  return right !== null && left.length === right.length && timingSafeEqual(left, right);
}
