/** Node's timers take no more milliseconds: a longer one would be over at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;
