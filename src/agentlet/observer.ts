import type { AgentState, AgentletEvent } from "../protocol/agentlet-link.ts";
import type { Observation } from "./drivers/driver.ts";
import type { ScreenView } from "./terminal-state.ts";

export const OBSERVER_LIMITS = {
  /** a screen is looked at this long after it changed, so that half a repaint is not read */
  settleMs: 100,
  /** idle needs a screen that rests */
  idleQuietMs: 300,
  /** a dialog that nobody can answer is told after this long */
  blockedMs: 5000,
};

export interface ObserverOptions {
  run: string;
  observe: ((view: ScreenView) => Observation | null) | null;
  view: () => ScreenView;
  /** true while somebody is attached who could answer a dialog */
  hasWriter: () => boolean;
  outputOffset: () => number;
  emit: (event: AgentletEvent) => void;
  limits?: Partial<typeof OBSERVER_LIMITS>;
}

/** States in which the CLI waits for a person, as far as the rules can tell. */
const WAITING: ReadonlySet<AgentState> = new Set(["permission", "question", "blocked", "unknown"]);

/** Turns screens into state events. What no rule knows is `unknown`, never idle. */
export class Observer implements Disposable {
  readonly #options: ObserverOptions;
  readonly #limits: typeof OBSERVER_LIMITS;
  #state: AgentState = "starting";
  #rule = "";
  #told = false;
  #changedAt = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: ObserverOptions) {
    this.#options = options;
    this.#limits = { ...OBSERVER_LIMITS, ...options.limits };
  }

  /** A fact about the process itself, which no screen can deny. */
  process(state: "starting" | "exited", evidence: string): void {
    this.#set(state, "process", evidence);
  }

  screenChanged(): void {
    this.#changedAt = performance.now();
    this.#told = false;
    if (this.#options.observe !== null) this.#lookIn(this.#limits.settleMs);
    else this.#set("unknown", "output", "the screens of this runtime are not known");
  }

  [Symbol.dispose](): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #lookIn(ms: number): void {
    if (this.#stopped) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#look();
    }, ms);
  }

  #look(): void {
    const quietMs = performance.now() - this.#changedAt;
    const view = this.#options.view();
    const seen = this.#options.observe?.(view) ?? null;
    const settled = quietMs >= this.#limits.idleQuietMs;
    if (seen !== null && (seen.state !== "idle" || settled))
      this.#set(seen.state, seen.channel, seen.rule);
    else if (seen === null && settled && this.#state !== "starting")
      this.#set("unknown", "screen", "no rule matches");
    if (!settled) this.#lookIn(this.#limits.idleQuietMs);
    else if (this.#waitsForPerson(seen)) this.#waitForPerson(view, quietMs);
  }

  #waitsForPerson(seen: Observation | null): boolean {
    // A start that rests on an unknown screen is a dialog that we do not know.
    return seen === null ? true : WAITING.has(seen.state);
  }

  #waitForPerson(view: ScreenView, quietMs: number): void {
    if (this.#told) return;
    if (quietMs < this.#limits.blockedMs || this.#options.hasWriter()) {
      this.#lookIn(
        Math.max(this.#limits.settleMs, Math.min(1000, this.#limits.blockedMs - quietMs)),
      );
      return;
    }
    this.#told = true;
    const rule = this.#rule === "" ? "unknown screen" : this.#rule;
    this.#set("blocked", "screen", `${rule}, and nobody attached can answer`);
    const time = new Date().toISOString();
    const text = view.rows.join("\n").trimEnd().slice(0, 200_000);
    this.#options.emit({ type: "screen", time, text });
    const message = `The CLI waits for a person; answer it with: agentkube attach ${this.#options.run} --write`;
    this.#options.emit({ type: "notice", time, message });
  }

  #set(state: AgentState, channel: Observation["channel"], evidence: string): void {
    if (this.#stopped || (state === this.#state && evidence === this.#rule)) return;
    const isBlockedAlready = this.#told && this.#state === "blocked" && WAITING.has(state);
    if (isBlockedAlready) return;
    this.#state = state;
    this.#rule = evidence;
    this.#options.emit({
      type: "state",
      time: new Date().toISOString(),
      state,
      channel,
      evidence,
      outputOffset: this.#options.outputOffset(),
    });
  }
}
