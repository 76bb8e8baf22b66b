import type { AgentletEvent, AgentState } from "../../protocol/agentlet-link.ts";
import type { ScreenView } from "../terminal-state.ts";
import type { Clock } from "./clock.ts";
import type { StateJudge } from "./state-judge.ts";

export const RESTING_LIMITS = {
  /** a screen that no rule knows and that rests this long is a dialog, unless somebody is attached who can answer */
  blockedMs: 5000,
  lookMs: 1000,
  /** a CLI that computes is still starting, but not for ever: some draw on while they wait */
  startsMs: 60_000,
};

export interface RestingOptions {
  run: string;
  judge: StateJudge;
  clock: Clock;
  view: () => ScreenView;
  /** true while somebody is attached who could answer a dialog */
  hasWriter: () => boolean;
  emit: (event: AgentletEvent) => void;
  limits?: Partial<typeof RESTING_LIMITS>;
}

/** States in which a CLI that rests needs somebody and gets nobody. What has an ask is answered otherwise. */
const STUCK: ReadonlySet<AgentState> = new Set(["starting", "unknown", "blocked"]);

/** Tells, once for each time that it comes, that the CLI rests on a screen that nobody can answer from afar. */
export class Resting implements Disposable {
  readonly #options: RestingOptions;
  readonly #limits: typeof RESTING_LIMITS;
  #cancel: (() => void) | null = null;
  #told = "";
  #restsSinceMs = 0;
  #workedAtMs = -Infinity;
  #stopped = false;

  constructor(options: RestingOptions) {
    this.#options = options;
    this.#limits = { ...RESTING_LIMITS, ...options.limits };
  }

  /** The screen was looked at; it has not changed since `sinceMs`. */
  looked(sinceMs: number): void {
    this.#restsSinceMs = sinceMs;
    // It went on. The same dialog may come again, and then it waits for somebody again.
    if (!STUCK.has(this.#options.judge.standing.state)) this.#told = "";
    if (this.#cancel === null && !this.#stopped) this.#lookIn(this.#limits.blockedMs);
  }

  /** The CLI has computed just now. */
  works(): void {
    this.#workedAtMs = this.#options.clock.now();
  }

  [Symbol.dispose](): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  /** Since when it waits: a dialog that a rule knows from its last change on, a start that shows nothing known once it computes no more. */
  get #waitsSinceMs(): number {
    if (this.#options.judge.standing.channel !== "process") return this.#restsSinceMs;
    const workedMs = Math.min(this.#workedAtMs, this.#restsSinceMs + this.#limits.startsMs);
    return Math.max(this.#restsSinceMs, workedMs);
  }

  #lookIn(ms: number): void {
    this.#cancel = this.#options.clock.after(Math.max(1, ms), () => {
      this.#cancel = null;
      this.#look();
    });
  }

  #look(): void {
    const { judge, clock, view, hasWriter, emit, run } = this.#options;
    if (this.#stopped || !STUCK.has(judge.standing.state)) return;
    const leftMs = this.#limits.blockedMs - (clock.now() - this.#waitsSinceMs);
    if (leftMs > 0) return this.#lookIn(leftMs);
    if (hasWriter()) return this.#lookIn(this.#limits.lookMs);
    const screen = view();
    const text = screen.rows.join("\n").trimEnd().slice(0, 200_000);
    if (text === this.#told) return;
    this.#told = text;
    const { evidence, state } = judge.standing;
    const rule = state === "unknown" || evidence === "" ? "unknown screen" : evidence;
    judge.signal({
      channel: "screen",
      state: "blocked",
      evidence: `${rule}, and nobody attached can answer`,
    });
    const time = new Date().toISOString();
    emit({ type: "screen", time, text });
    const message = `The CLI waits for a person; answer it with: agentkube attach ${run} --write`;
    emit({ type: "notice", time, message });
  }
}
