/** A bell for one process: `next` settles at the next `ring`. Look at the state first, then wait; nothing is lost between. */
export class Wake {
  #bell = Promise.withResolvers<void>();

  get next(): Promise<void> {
    return this.#bell.promise;
  }

  ring(): void {
    this.#bell.resolve();
    this.#bell = Promise.withResolvers<void>();
  }
}
