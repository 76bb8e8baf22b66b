/** Recorders that may catch up at once; each of them has a window of 1 MiB on its way, and its file open. */
const PLACES = 16;
/** A place whose recorder does not go on is free again after this; the recorder stays connected. */
const IDLE_MS = 5000;
const RETRY_MS = { least: 200, most: 15_000 };
/** How much the last place counts in the mean of how long one is held. */
const WEIGHT = 0.1;

/** A recorder that may catch up now. */
export interface Place {
  /** The recorder goes on. */
  progress(): void;
  /** Gives the place to another; again is no harm. */
  leave(): void;
}

/**
 * Who may catch up when many recorders come at once, as after an outage: as many as there are places. Others are told when to come
 * back, such that the returns are spread over the time that all of them need, whatever their number.
 */
export class Admission {
  readonly #options: { places: number; idleMs: number };
  readonly #held = new Set<Place>();
  /** sessions that were told to come back, and when they count as gone */
  readonly #away = new Map<string, number>();
  #meanHeldMs = 50;

  constructor(options: { places?: number; idleMs?: number } = {}) {
    this.#options = { places: PLACES, idleMs: IDLE_MS, ...options };
  }

  /** A place for the recorder of this session, or how long it has to stay away at most. */
  enter(session: string): Place | { retryAfterMs: number } {
    if (this.#held.size < this.#options.places) {
      this.#away.delete(session);
      return this.#take();
    }
    const now = performance.now();
    for (const [other, goneAt] of this.#away) if (goneAt < now) this.#away.delete(other);
    this.#away.delete(session);
    const allMs = ((this.#away.size + 1) * this.#meanHeldMs) / this.#options.places;
    // They come back at random within this time, so on average as fast as places become free.
    const retryAfterMs = Math.round(Math.min(RETRY_MS.most, Math.max(RETRY_MS.least, allMs)));
    this.#away.set(session, now + 2 * retryAfterMs);
    return { retryAfterMs };
  }

  #take(): Place {
    const since = performance.now();
    const timer = setTimeout(() => place.leave(), this.#options.idleMs).unref();
    const place: Place = {
      progress: () => void timer.refresh(),
      leave: () => {
        clearTimeout(timer);
        if (!this.#held.delete(place)) return;
        this.#meanHeldMs += WEIGHT * (performance.now() - since - this.#meanHeldMs);
      },
    };
    this.#held.add(place);
    return place;
  }
}
