/** A file that is opened when somebody first needs it, once for all who do, and closed with its owner. */
export class OpenOnUse<T extends AsyncDisposable> {
  readonly #open: () => Promise<T>;
  #opening: Promise<T> | null = null;
  #opened: T | null = null;

  constructor(open: () => Promise<T>) {
    this.#open = open;
  }

  /** The file while it is open, for those who would not open it. */
  get opened(): T | null {
    return this.#opened;
  }

  /** Rejects as opening it does; the next one tries again, for a full disk may have room by then. */
  use(): Promise<T> {
    this.#opening ??= this.#open().then(
      (file) => (this.#opened = file),
      (error: unknown) => {
        this.#opening = null;
        throw error;
      },
    );
    return this.#opening;
  }

  /** Closes what is open, or will be in a moment; safe to call twice. */
  async close(): Promise<void> {
    const opening = this.#opening;
    this.#opening = null;
    this.#opened = null;
    const file = await opening?.catch(() => null);
    // Opened meanwhile: it is being closed.
    if (this.#opened === file) this.#opened = null;
    await file?.[Symbol.asyncDispose]();
  }
}
