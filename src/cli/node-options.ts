/**
 * Options of Node for the programs of a run. Each parses and relays, and keeps little: a young generation of 1 MiB in place of
 * 16 saves 5 to 12 MiB of each at rest, which is what its start would leave behind; `kit/collect-once.ts` needs the other.
 * scripts/build-programs.mjs compiles with the same, or V8 would not take what it compiled.
 */
export const SMALL_HEAP = ["--max-semi-space-size=1", "--expose-gc"] as const;

/** glibc gives each thread that allocates a heap of its own, up to eight for each processor, and keeps it: two do, and save 1 to 2 MiB. */
export const SMALL_MALLOC = { MALLOC_ARENA_MAX: "2" } as const;
