import type { AgentletEvent } from "../../protocol/agentlet-link.ts";
import type { ScreenView } from "../terminal-state.ts";
import { machineClock } from "./clock.ts";
import { Resting } from "./resting.ts";
import type { RuleSet } from "./screen-rule.ts";
import { ScreenWatch } from "./screen-watch.ts";
import type { Signal } from "./signal.ts";
import { StateJudge } from "./state-judge.ts";
import type { Standing } from "./state-judge.ts";

export interface RunStatesOptions {
  run: string;
  /** null when this runtime's screens are not known: its state is then unknown until another channel speaks */
  rules: RuleSet | null;
  view: () => ScreenView;
  /** true while somebody is attached who could answer a dialog */
  hasWriter: () => boolean;
  outputOffset: () => number;
  /** bytes of output that `view` shows: it may be behind */
  screenOffset: () => number;
  emit: (event: AgentletEvent) => void;
  limits?: { settleMs?: number; quietMs?: number; blockedMs?: number };
}

/** The states of one run: what every channel of its CLI claims, merged, and each change told as an event. */
export class RunStates implements Disposable {
  readonly #judge: StateJudge;
  readonly #watch: ScreenWatch | null;
  readonly #resting: Resting;
  /** not an agent that shows when it is ready: what it does is unknown until something says so */
  readonly #isAnyProgram: boolean;
  #reports = 0;
  readonly #listeners = new Set<(standing: Standing) => void>();

  constructor(options: RunStatesOptions) {
    const { run, rules, view, hasWriter, outputOffset, screenOffset, emit, limits } = options;
    const clock = machineClock;
    const notice = (message: string) =>
      emit({ type: "notice", time: new Date().toISOString(), message: message.slice(0, 4096) });
    this.#judge = new StateJudge({
      clock,
      outputOffset,
      onChange: (standing, offset) => {
        emit(stateEventOf(standing, offset));
        for (const listener of this.#listeners) listener(standing);
      },
      onDeadChannel: notice,
    });
    const judge = this.#judge;
    this.#isAnyProgram = rules === null || !rules.restingUnknownIsBlocked;
    this.#resting = new Resting({ run, judge, clock, view, hasWriter, emit, limits: limits ?? {} });
    this.#watch =
      rules === null
        ? null
        : new ScreenWatch({
            rules,
            view,
            clock,
            outputOffset: screenOffset,
            signal: (signal) => judge.signal(signal),
            onLook: (_match, sinceMs) => {
              if (rules.restingUnknownIsBlocked) this.#resting.looked(sinceMs);
            },
            limits: limits ?? {},
          });
  }

  get standing(): Standing {
    return this.#judge.standing;
  }

  /** The version that the CLI has shown on its screen; null when it has shown none. */
  get version(): string | null {
    return this.#watch?.version ?? null;
  }

  /** True once a structured channel has spoken in this run. */
  get hasStructured(): boolean {
    return this.#reports > 0;
  }

  /** How often a structured channel has spoken: the same number twice means that none has said anything between. */
  get reports(): number {
    return this.#reports;
  }

  /** A claim of a structured channel: hook, event, transcript. */
  signal(signal: Signal): void {
    if (signal.channel !== "output") this.#reports += 1;
    this.#judge.signal(signal);
  }

  /** A fact about the process itself, which no channel can deny. */
  process(state: "starting" | "exited", evidence: string): void {
    this.#judge.process(state, evidence);
  }

  /** The CLI computes: it does not wait for anybody. */
  works(): void {
    this.#resting.works();
  }

  /** Output has reached the screen. */
  screenChanged(): void {
    this.#watch?.touched();
    if (this.#isAnyProgram && this.#judge.standing.state === "starting")
      this.signal({
        channel: "output",
        state: "unknown",
        evidence: "the screens of this runtime are not known",
      });
  }

  /** Calls at each change; the result ends it. */
  onChange(listener: (standing: Standing) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Settles once this is the state; at once when it is. */
  async becomes(state: Standing["state"]): Promise<void> {
    if (this.standing.state === state) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const stop = this.onChange((standing) => {
      if (standing.state === state) resolve();
    });
    await promise;
    stop();
  }

  [Symbol.dispose](): void {
    this.#judge[Symbol.dispose]();
    this.#watch?.[Symbol.dispose]();
    this.#resting[Symbol.dispose]();
    this.#listeners.clear();
  }
}

function stateEventOf(standing: Standing, outputOffset: number): AgentletEvent {
  const { state, channel, evidence, ask } = standing;
  const time = new Date().toISOString();
  const event = { type: "state", time, state, channel, evidence, outputOffset } as const;
  return ask === null ? event : { ...event, ask };
}
