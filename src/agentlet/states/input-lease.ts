import { pause } from "./clock.ts";
import type { Clock } from "./clock.ts";

export const LEASE_LIMITS = {
  /** after a person's last key nobody else types for this long */
  personMs: 3000,
  /** automation that waits longer for a person to stop gives up */
  waitMs: 30_000,
  /** what a person types while automation does waits up to this size */
  heldBytes: 64 * 1024,
};

const PASTING_LOOK_MS = 100;

/** Who has the keyboard: a person, and at which window, or automation. */
export type Hands = { hands: "person"; window: string } | { hands: "automation" };

export interface InputLeaseOptions {
  clock: Clock;
  /** The keyboard changed hands, from nobody's at first. */
  onHands: (hands: Hands, before: Hands | null) => void;
  /** A person's keys are about to be delivered. */
  onPerson?: (keys: Buffer) => void;
  /** a person's paste is not over: it is theirs, however long they pause */
  isPasting?: () => boolean;
  limits?: Partial<typeof LEASE_LIMITS>;
}

/**
 * Replies and reports that a person's terminal sends by itself: focus, mouse, and answers to queries. Keys have forms close to them:
 * `CSI 99;5 u` is Ctrl-C and `CSI 1;2 R` is F3, so a `u` needs its `?`, and a position that might be F3 is a key.
 */
// oxlint-disable-next-line no-control-regex -- control sequences are what is looked for
const NO_KEYS =
  /^(?:\x1b\[(?:[IO]|<[\d;]+[Mm]|[?>=][\d;]*c|\??\d[\d;]*n|\?\d+u|(?!1;)\d+;\d+R|\?[\d;]+R)|\x1b\[M[^]{3})+$/;

/** True when there is more than what a terminal sends by itself. */
export function areKeys(bytes: Buffer): boolean {
  return !NO_KEYS.test(bytes.toString("latin1"));
}

/** Who types: one person's keys and automation's never mix. While one types, the other waits. */
export class InputLease {
  readonly #options: InputLeaseOptions;
  readonly #limits: typeof LEASE_LIMITS;
  #last: Hands | null = null;
  #keyAtMs = -Infinity;
  #turn: Promise<unknown> = Promise.resolve();
  #isAutomatic = false;
  #held: { bytes: Buffer; window: string; deliver: (bytes: Buffer) => void }[] = [];
  #heldBytes = 0;

  constructor(options: InputLeaseOptions) {
    this.#options = options;
    this.#limits = { ...LEASE_LIMITS, ...options.limits };
  }

  /** A person typed. Delivered now, or once automation has done; false, and nothing taken, when too much waits. */
  person(bytes: Buffer, window: string, deliver: (bytes: Buffer) => void): boolean {
    if (!areKeys(bytes)) {
      deliver(bytes);
      return true;
    }
    this.#keyAtMs = this.#options.clock.now();
    if (!this.#isAutomatic) {
      this.#deliver(bytes, window, deliver);
      return true;
    }
    if (this.#heldBytes + bytes.length > this.#limits.heldBytes) return false;
    this.#held.push({ bytes: Buffer.from(bytes), window, deliver });
    this.#heldBytes += bytes.length;
    return true;
  }

  /**
   * Acts while nobody else types, after a person has stopped. `busy` when no turn comes in time, with nothing done. Rejects as soon as
   * the signal aborts: an act that has not begun then never does.
   */
  async automation<T>(act: () => Promise<T>, signal: AbortSignal): Promise<T | "busy"> {
    const turn = this.#turn.then(async () => await this.#automate(act, signal));
    this.#turn = turn.catch(() => undefined);
    const { promise: over, reject } = Promise.withResolvers<never>();
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    try {
      return await Promise.race([turn, over]);
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  async #automate<T>(act: () => Promise<T>, signal: AbortSignal): Promise<T | "busy"> {
    const { clock } = this.#options;
    const deadline = clock.now() + this.#limits.waitMs;
    for (;;) {
      signal.throwIfAborted();
      const leftMs = this.#keyAtMs + this.#limits.personMs - clock.now();
      if (leftMs <= 0 && this.#options.isPasting?.() !== true) break;
      const waitMs = Math.max(leftMs, PASTING_LOOK_MS);
      if (clock.now() + waitMs > deadline) return "busy";
      await pause(clock, waitMs, signal);
    }
    this.#isAutomatic = true;
    this.#take({ hands: "automation" });
    try {
      return await act();
    } finally {
      this.#isAutomatic = false;
      const held = this.#held;
      this.#held = [];
      this.#heldBytes = 0;
      for (const { bytes, window, deliver } of held) this.#deliver(bytes, window, deliver);
    }
  }

  #deliver(bytes: Buffer, window: string, deliver: (bytes: Buffer) => void): void {
    this.#take({ hands: "person", window });
    this.#options.onPerson?.(bytes);
    deliver(bytes);
  }

  #take(hands: Hands): void {
    const before = this.#last;
    if (before !== null && isSame(before, hands)) return;
    this.#last = hands;
    this.#options.onHands(hands, before);
  }
}

function isSame(one: Hands, other: Hands): boolean {
  if (one.hands === "automation" || other.hands === "automation") return one.hands === other.hands;
  return one.window === other.window;
}
