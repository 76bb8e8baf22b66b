const REST_MS = 3000;

/**
 * Collects all that a start left behind, once and a moment after it: 4 to 6 MiB, which V8 would keep for a program that does
 * little from then on. Node has to be started with --expose-gc; else nothing happens.
 */
export function collectOnce(): void {
  const { gc } = globalThis;
  if (gc === undefined) return;
  // Only this flavour gives pages back to the system.
  const options = { type: "major", execution: "sync", flavor: "last-resort" } as const;
  setTimeout(() => gc(options), REST_MS).unref();
}
