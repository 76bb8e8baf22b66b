import type { ActPhase } from "../../protocol/agentlet-link.ts";
import type { ScreenView } from "../terminal-state.ts";
import type { ActLife } from "./act-life.ts";
import { pause } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { Composer } from "./composer.ts";
import { matchScreen } from "./match-screen.ts";
import type { ScreenMatch } from "./match-screen.ts";
import type { RunStates } from "./run-states.ts";
import type { RuleSet } from "./screen-rule.ts";
import { looksOf } from "./same-dialog.ts";
import { Seen } from "./seen.ts";
import type { Standing } from "./state-judge.ts";

export const INTERACTION_LIMITS = {
  /** how long a composer may take to be drawn after a hook has told that the CLI is idle */
  composerMs: 2000,
  /** how long a dialog that a hook told of may take to be drawn; a CLI that starts its tools on a busy machine takes seconds */
  dialogMs: 5000,
  /** a dialog is answered once it has stood for this long: keys that come while it is drawn may be lost */
  dialogRestsMs: 150,
  /** a dialog that stands as it stood this long after its key was read, with nothing else said, has lost it, and gets it again */
  pressAgainMs: 4000,
  presses: 2,
  /** a dialog that looks like the one answered before is taken for that one, still on the screen, for this long */
  sameDialogMs: 1000,
  /** a prompt that nothing has confirmed gets Enter again after this long, never its text */
  confirmMs: 2000,
  enters: 3,
  /** a screen alone is believed to have shown it this long after a structured channel could have said so */
  structuredMs: 1000,
  /** how long a CLI on a busy machine may take to show that it was answered, or took a prompt */
  answeredMs: 15_000,
  interruptedMs: 5000,
  /** commands that wait their turn */
  waiting: 16,
};

/** What became of an act, in a word and a sentence. */
export interface ActOutcome {
  phase: Exclude<ActPhase, "accepted">;
  message: string;
}

/** Nothing was typed, and why. */
export const refused = (message: string): ActOutcome => ({ phase: "refused", message });

export interface ControlsOptions {
  states: RunStates;
  rules: RuleSet | null;
  clock: Clock;
  view: () => ScreenView;
  /** Types as automation; false when the terminal is gone or full. */
  type: (bytes: Buffer) => boolean;
  /** The program that has the terminal, when it is not the CLI itself; null when it is. */
  stranger: () => string | null;
  /** false while the program has not read all that was typed; unless given, it always has */
  hasReadInput?: () => boolean;
  limits?: Partial<typeof INTERACTION_LIMITS>;
}

const NOTHING_ANSWERED = { ask: 0, looks: "" };

/** What an act works with: the states, screen and keyboard of one CLI, and waits that end with it. */
export class Controls implements Disposable {
  readonly states: RunStates;
  readonly rules: RuleSet | null;
  readonly limits: typeof INTERACTION_LIMITS;
  readonly composer: Composer;
  readonly #options: ControlsOptions;
  readonly #over = new AbortController();
  #act: ActLife | null = null;
  /** the dialog answered last, as long as nothing else was seen where it stood */
  #answered = NOTHING_ANSWERED;
  /** the ask whose dialog is looked for, and since when */
  #wanted = { ask: 0, sinceMs: 0 };

  constructor(options: ControlsOptions) {
    this.#options = options;
    this.states = options.states;
    this.rules = options.rules;
    this.limits = { ...INTERACTION_LIMITS, ...options.limits };
    this.composer = new Composer(options);
  }

  /** Aborted when the program has ended. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** On the clock of the acts, in ms. */
  get now(): number {
    return this.#options.clock.now();
  }

  get standing(): Standing {
    return this.states.standing;
  }

  get view(): ScreenView {
    return this.#options.view();
  }

  get stranger(): string | null {
    return this.#options.stranger();
  }

  get hasReadInput(): boolean {
    return this.#options.hasReadInput?.() ?? true;
  }

  /** From here on this act has the keyboard, and no other one. */
  handTo(act: ActLife): void {
    this.#act = act;
  }

  /** Types as automation; false when the terminal is gone or full. Throws when the act was withdrawn before its first key. */
  type(keys: Buffer | string): boolean {
    this.#signal.throwIfAborted();
    this.composer.typing();
    const isTaken = this.#options.type(typeof keys === "string" ? Buffer.from(keys) : keys);
    if (isTaken && this.#act !== null) this.#act.hasTyped = true;
    return isTaken;
  }

  /** What the screen says now; null when no rule knows it. */
  onScreen(): ScreenMatch | null {
    return this.rules === null ? null : matchScreen(this.rules, this.view, this.states.version);
  }

  /** A dialog that the screen shows, whatever is asked; null when it shows none. */
  get dialogOnScreen(): ScreenMatch | null {
    const match = this.onScreen();
    const isDialog =
      match?.rule.keys !== undefined ||
      match?.state === "permission" ||
      match?.state === "question";
    return isDialog ? match : null;
  }

  /**
   * The dialog of this ask and how it is answered; null while the screen shows none, only its title, or still the dialog of the
   * ask before: an event may be quicker than the screen.
   */
  dialogOf(askId: number): ScreenMatch | null {
    const now = this.#options.clock.now();
    if (this.#wanted.ask !== askId) this.#wanted = { ask: askId, sinceMs: now };
    const match = this.onScreen();
    const dialog = match?.rule.keys === undefined ? null : match;
    const { ask, looks } = this.#answered;
    if (dialog === null || looksOf(dialog) !== looks) {
      if (ask !== askId) this.#answered = NOTHING_ANSWERED;
      return dialog;
    }
    const isLong = now - this.#wanted.sinceMs >= this.limits.sameDialogMs;
    return ask === askId || isLong ? dialog : null;
  }

  /** The keys of an answer are about to be typed into this dialog. */
  answering(askId: number, dialog: ScreenMatch): void {
    this.#answered = { ask: askId, looks: looksOf(dialog) };
  }

  seen(wanted: (standing: Standing) => boolean): Seen {
    return new Seen(this.#options, wanted, this.#over.signal);
  }

  /** Looks every `stepMs` until `isThere`; false when it is not within `ms`. */
  async until(isThere: () => boolean, ms: number, stepMs: number): Promise<boolean> {
    const { clock } = this.#options;
    const deadline = clock.now() + ms;
    while (!isThere()) {
      if (clock.now() >= deadline) return false;
      await this.sleep(stepMs);
    }
    return true;
  }

  async sleep(ms: number): Promise<void> {
    await pause(this.#options.clock, ms, this.#signal);
  }

  [Symbol.dispose](): void {
    this.composer[Symbol.dispose]();
    this.#over.abort(new Error("The program has ended"));
  }

  get #signal(): AbortSignal {
    return this.#act?.signal ?? this.#over.signal;
  }
}
