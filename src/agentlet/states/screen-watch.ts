import type { ScreenView } from "../terminal-state.ts";
import type { Clock } from "./clock.ts";
import { matchScreen, versionOn } from "./match-screen.ts";
import type { ScreenMatch } from "./match-screen.ts";
import type { RuleSet } from "./screen-rule.ts";
import type { Signal } from "./signal.ts";

export const WATCH_LIMITS = {
  /** a screen is looked at this long after it changed */
  settleMs: 100,
  /** half a repaint is not read: not before output has rested so long, nor inside a frame that the program marks (mode 2026) */
  frameMs: 16,
  /** but what comes without a rest, and a frame that is never closed, is read this long after it began */
  unreadMs: 250,
  /** idle, and no rule at all, need a screen that rests */
  quietMs: 300,
};

export interface ScreenWatchOptions {
  rules: RuleSet;
  view: () => ScreenView;
  clock: Clock;
  /** bytes of output that the screen shows */
  outputOffset: () => number;
  signal: (signal: Signal) => void;
  /** What the screen says now, null when no rule knows it, since when it rests, and whether for long enough. Called at each look. */
  onLook?: (match: ScreenMatch | null, sinceMs: number, rests: boolean) => void;
  limits?: Partial<typeof WATCH_LIMITS>;
}

/** Looks at the screen when it has changed and tells what the rules say. What no rule knows is `unknown`, never idle. */
export class ScreenWatch implements Disposable {
  readonly #options: ScreenWatchOptions;
  readonly #limits: typeof WATCH_LIMITS;
  #next: { atMs: number; cancel: () => void } | null = null;
  /** since when output is not looked at; null when all of it was */
  #unreadSinceMs: number | null = null;
  #changedAtMs: number;
  #touchedAtMs: number;
  #text = "";
  #version: string | null = null;
  /** what was said of this screen already */
  #said: string | null = null;
  /** a rule has known this program's screen; before that it is starting, unless it is any program */
  #isKnown: boolean;
  #stopped = false;

  constructor(options: ScreenWatchOptions) {
    this.#options = options;
    this.#limits = { ...WATCH_LIMITS, ...options.limits };
    this.#changedAtMs = options.clock.now();
    this.#touchedAtMs = this.#changedAtMs;
    this.#isKnown = !options.rules.restingUnknownIsBlocked;
  }

  /** The version that the CLI has shown; null when it has shown none. */
  get version(): string | null {
    return this.#version;
  }

  /** Output has reached the screen. */
  touched(): void {
    this.#touchedAtMs = this.#options.clock.now();
    this.#unreadSinceMs ??= this.#touchedAtMs;
    this.#lookIn(this.#limits.settleMs);
  }

  [Symbol.dispose](): void {
    this.#stopped = true;
    this.#next?.cancel();
  }

  /** Looks in so long, or sooner when that is due already. */
  #lookIn(ms: number): void {
    const { clock } = this.#options;
    const atMs = clock.now() + ms;
    if (this.#stopped || (this.#next !== null && this.#next.atMs <= atMs)) return;
    this.#next?.cancel();
    const cancel = clock.after(ms, () => {
      this.#next = null;
      const waitMs = this.#unfinishedMs();
      if (waitMs > 0) this.#lookIn(waitMs);
      else this.#look();
    });
    this.#next = { atMs, cancel };
  }

  /** How long the screen may still be half a frame; 0 when it is whole, or was waited for long enough. */
  #unfinishedMs(): number {
    const { clock, view } = this.#options;
    const { frameMs, unreadMs } = this.#limits;
    if (this.#unreadSinceMs === null) return 0;
    const now = clock.now();
    const leftMs = this.#unreadSinceMs + unreadMs - now;
    if (leftMs <= 0) return 0;
    const restMs = this.#touchedAtMs + frameMs - now;
    return Math.min(leftMs, restMs > 0 ? restMs : view().inFrame === true ? frameMs : 0);
  }

  #look(): void {
    const { rules, clock } = this.#options;
    const view = this.#options.view();
    this.#unreadSinceMs = null;
    const text = `${view.title}\n${view.rows.join("\n")}`;
    // Bytes that change nothing a person would see (a cursor that blinks) are no unrest.
    if (text !== this.#text) {
      this.#changedAtMs = this.#touchedAtMs;
      this.#said = null;
    }
    this.#text = text;
    this.#version ??= versionOn(rules, view);
    const match = matchScreen(rules, view, this.#version);
    const quietMs = clock.now() - this.#changedAtMs;
    const rests = quietMs >= this.#limits.quietMs;
    this.#say(match, rests);
    this.#options.onLook?.(match, this.#changedAtMs, rests);
    if (!rests) this.#lookIn(Math.max(1, this.#limits.quietMs - quietMs));
  }

  /** Idle, and a screen that no rule knows, are only said of a screen that rests. That a CLI is gone only its process says. */
  #say(match: ScreenMatch | null, rests: boolean): void {
    const needsRest = match === null || match.state === "idle";
    if ((needsRest && !rests) || match?.state === "exited") return;
    // A program that has shown nothing known yet is still starting; when that lasts, `Resting` tells.
    this.#isKnown ||= match !== null;
    if (!this.#isKnown) return;
    const evidence = match?.rule.name ?? "no rule matches";
    // Said once of a screen: what others conclude of it meanwhile is not taken back by saying it again.
    if (this.#said === evidence) return;
    this.#said = evidence;
    this.#options.signal({
      channel: match?.channel ?? "screen",
      state: match?.state ?? "unknown",
      evidence,
      offset: this.#options.outputOffset(),
      ...(match?.ask === undefined ? {} : { ask: match.ask }),
      ...(match?.rule.endsTurn === true ? { endsTurn: true } : {}),
    });
  }
}
