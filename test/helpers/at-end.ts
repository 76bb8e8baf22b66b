/** What node gives a test, as far as it is needed here. */
interface Context {
  after(end: () => Promise<void>): void;
}

const stacks = new WeakMap<Context, AsyncDisposableStack>();

/**
 * Does something when the test has ended: the latest first, so that what writes into a directory has ended before the directory
 * goes, and each whatever became of the others. Node's own `after` goes by the order in which things were given and leaves out
 * the rest after one that fails: a server that is left out keeps its file, and so the whole run, from ending.
 */
export function atEnd(context: Context, act: () => unknown): void {
  let stack = stacks.get(context);
  if (stack === undefined) {
    const fresh = new AsyncDisposableStack();
    context.after(async () => await fresh.disposeAsync());
    stacks.set(context, fresh);
    stack = fresh;
  }
  stack.defer(async () => {
    await act();
  });
}
