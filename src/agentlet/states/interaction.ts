import type {
  ActPhase,
  AgentletCommand,
  AgentletEvent,
  Ask,
} from "../../protocol/agentlet-link.ts";
import type { Choice } from "../../protocol/agentlet-link.ts";
import { messageOf } from "../../kit/platform-error.ts";
import type { ScreenView } from "../terminal-state.ts";
import type { Clock } from "./clock.ts";
import { InputLease } from "./input-lease.ts";
import { cleanPrompt, isInComposer, keysOf, typingOf, unsentOn } from "./keystrokes.ts";
import { matchScreen } from "./match-screen.ts";
import type { ScreenMatch } from "./match-screen.ts";
import type { RunStates } from "./run-states.ts";
import type { RuleSet } from "./screen-rule.ts";
import type { Standing } from "./state-judge.ts";

export const INTERACTION_LIMITS = {
  /** how long a dialog that a hook told of may take to be drawn */
  dialogMs: 2000,
  /** a prompt that nothing has confirmed gets Enter again after this long, never its text */
  confirmMs: 2000,
  enters: 3,
  /** a screen alone is believed to have shown it this long after a structured channel could have said so */
  structuredMs: 1000,
  answeredMs: 3000,
  interruptedMs: 5000,
  /** commands that wait their turn */
  waiting: 16,
};

type Act = Extract<AgentletEvent, { type: "act" }>["act"];
type ActCommand = Extract<AgentletCommand, { kind: Act }>;

/** Who asked for an act: a command from afar, or a policy of the Agent. */
export interface Asker {
  request: string | null;
  by: string;
}

export interface InteractionOptions {
  states: RunStates;
  rules: RuleSet | null;
  clock: Clock;
  view: () => ScreenView;
  /** Types as automation; false when the terminal is gone or full. */
  type: (bytes: Buffer) => boolean;
  /** The program that has the terminal, when it is not the CLI itself; null when it is. */
  stranger: () => string | null;
  outputOffset: () => number;
  emit: (event: AgentletEvent) => void;
  /** The keyboard changed hands. */
  onHands: (hands: "person" | "automation") => void;
  limits?: Partial<typeof INTERACTION_LIMITS>;
}

interface Outcome {
  phase: Exclude<ActPhase, "accepted">;
  message: string;
}

const refused = (message: string): Outcome => ({ phase: "refused", message });

/** What is done to a running CLI from afar: prompts, answers, interruptions. Each is proved to have arrived, or said not to be. */
export class Interaction implements Disposable {
  readonly lease: InputLease;
  readonly #options: InteractionOptions;
  readonly #limits: typeof INTERACTION_LIMITS;
  readonly #over = new AbortController();
  #waiting = 0;

  constructor(options: InteractionOptions) {
    this.#options = options;
    this.#limits = { ...INTERACTION_LIMITS, ...options.limits };
    this.lease = new InputLease({ clock: options.clock, onHands: options.onHands });
  }

  /** Takes a command of the manager; what became of it is told as `act` events. Never rejects. */
  async handle(command: ActCommand): Promise<void> {
    const asker: Asker = { request: command.request, by: command.by };
    switch (command.kind) {
      case "prompt":
        return await this.#act("prompt", asker, null, async () => await this.#prompt(command.text));
      case "answer":
        return await this.answer(asker, command.ask, command.choice);
      case "interrupt":
        return await this.#act("interrupt", asker, null, async () => await this.#interrupt());
    }
  }

  /** Answers the ask that stands, or refuses when another one is meant. Never rejects. */
  async answer(asker: Asker, ask: number | null, choice: Choice): Promise<void> {
    const standing = this.#options.states.standing.ask;
    const id = ask ?? standing?.id ?? null;
    await this.#act("answer", asker, id, async () => await this.#answer(id, choice));
  }

  /** The dialog that the screen shows now and how it is answered; null when it shows none, or only its title yet. */
  dialogOnScreen(): ScreenMatch | null {
    const { rules, view } = this.#options;
    const match = rules === null ? null : matchScreen(rules, view(), null);
    return match?.rule.keys === undefined ? null : match;
  }

  [Symbol.dispose](): void {
    this.#over.abort(new Error("The program has ended"));
  }

  async #act(
    act: Act,
    asker: Asker,
    ask: number | null,
    run: () => Promise<Outcome>,
  ): Promise<void> {
    const tell = (phase: ActPhase, message: string) =>
      this.#options.emit({
        type: "act",
        time: new Date().toISOString(),
        act,
        ...asker,
        ask,
        phase,
        message: message.slice(0, 4096),
        outputOffset: this.#options.outputOffset(),
      });
    if (this.#waiting >= this.#limits.waiting)
      return tell("refused", `${this.#limits.waiting} acts are waiting already`);
    this.#waiting += 1;
    tell("accepted", "taken");
    try {
      const outcome = await run();
      tell(outcome.phase, outcome.message);
    } catch (error) {
      tell("refused", messageOf(error));
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Acts with the keyboard in hand. */
  async #typing(act: () => Promise<Outcome>): Promise<Outcome> {
    const outcome = await this.lease.automation(act, this.#over.signal);
    return outcome === "busy"
      ? refused("A person is typing; try again when they have stopped")
      : outcome;
  }

  async #prompt(prompt: string): Promise<Outcome> {
    const { states } = this.#options;
    const { text, removed } = cleanPrompt(prompt);
    if (text.trim() === "")
      return refused("Nothing is left of the prompt without control characters");
    const note = removed === 0 ? "" : `; ${removed} control characters were left out`;
    if (states.standing.state !== "idle") return refused(notIdle(states.standing));
    if ((await states.protocol?.submit?.(text, this.#over.signal)) === true)
      return { phase: "done", message: `submitted by the CLI's own protocol${note}` };
    const outcome = await this.#typing(async () => await this.#typePrompt(text));
    return { ...outcome, message: outcome.message + note };
  }

  async #typePrompt(text: string): Promise<Outcome> {
    const { states, rules, view } = this.#options;
    await this.#composerShown();
    const screen = view();
    const problem = this.#notReady(screen);
    if (problem !== null) return refused(problem);
    const typing = typingOf(text, screen.takesPaste === true);
    if (typing === null)
      return refused(
        "This CLI does not mark pastes now, and would take each line for a prompt; give one line",
      );
    const shown = this.#seen((standing) => standing.state !== "idle");
    try {
      if (!this.#options.type(typing)) return refused("The program does not read its input");
      await this.#sleep(rules?.enterAfterMs ?? 100);
      for (let enters = 1; ; enters++) {
        // A dialog that came up meanwhile must not be answered by this Enter.
        if (states.standing.state !== "idle") break;
        this.#options.type(Buffer.from("\r"));
        if (await shown.within(this.#limits.confirmMs)) break;
        if (enters === this.#limits.enters || !isInComposer(view(), text)) break;
      }
      return await this.#proofOf(shown, text);
    } finally {
      shown.stop();
    }
  }

  /** A hook may say idle before the composer is drawn. A composer that no rule knows is not waited for without end. */
  async #composerShown(): Promise<void> {
    const { rules, view, clock } = this.#options;
    if (rules === null) return;
    const deadline = clock.now() + this.#limits.dialogMs;
    while (clock.now() < deadline) {
      if (matchScreen(rules, view(), null)?.state === "idle") return;
      await this.#sleep(25);
    }
  }

  /** What showed that a prompt was taken: a structured channel, else the screen, else the composer that is empty again. */
  async #proofOf(shown: Seen, text: string): Promise<Outcome> {
    const { states, view } = this.#options;
    const first = shown.standing;
    if (first === null) {
      const message = isInComposer(view(), text)
        ? "the text stands in the composer and Enter was not taken"
        : "the composer is empty again, and nothing else has shown that the prompt was taken";
      return { phase: "unconfirmed", message };
    }
    if (!isStructured(first) && states.hasStructured) {
      const surer = this.#seen(isStructured);
      if (await surer.within(this.#limits.structuredMs)) {
        const message = `confirmed by ${surer.standing?.channel}: ${surer.standing?.evidence}`;
        surer.stop();
        return { phase: "done", message };
      }
      surer.stop();
    }
    return { phase: "done", message: `confirmed by ${first.channel}: ${first.evidence}` };
  }

  /** Why nothing may be typed now; null when it may. */
  #notReady(screen: ScreenView): string | null {
    const { states, stranger } = this.#options;
    if (states.standing.state !== "idle") return notIdle(states.standing);
    const other = stranger();
    if (other !== null) return `Another program has the terminal (${other}), not the CLI`;
    if (unsentOn(screen) !== "")
      return "The composer holds text that was not sent; send or clear it first";
    return null;
  }

  async #answer(id: number | null, choice: Choice): Promise<Outcome> {
    const { states } = this.#options;
    const { ask } = states.standing;
    if (ask === null || id === null)
      return refused(`Nothing is asked: the CLI is ${states.standing.state}`);
    if (ask.id !== id) return refused(`Ask ${id} is over; what is asked now is ask ${ask.id}`);
    if ((await states.protocol?.answer?.(ask, choice, this.#over.signal)) === true)
      return { phase: "done", message: `${wordOf(choice)}, by the CLI's own protocol` };
    return await this.#typing(async () => await this.#typeAnswer(ask, choice));
  }

  async #typeAnswer(ask: Ask, choice: Choice): Promise<Outcome> {
    const { states, clock } = this.#options;
    const deadline = clock.now() + this.#limits.dialogMs;
    let dialog = this.dialogOnScreen();
    while (dialog === null && clock.now() < deadline) {
      await this.#sleep(50);
      dialog = this.dialogOnScreen();
    }
    if (states.standing.ask?.id !== ask.id) return refused(`Ask ${ask.id} is over`);
    if (dialog?.rule.keys === undefined)
      return refused(
        "The dialog is not on the screen, or no rule knows its keys; answer it with agentkube attach --write",
      );
    const options = { ...ask, ...dialog.ask, options: dialog.ask?.options ?? ask.options };
    const keys = keysOf(choice, dialog.rule.keys, options);
    if (keys === null)
      return refused(`This dialog cannot be answered with ${wordOf(choice)}${optionsOf(ask)}`);
    const shown = this.#seen((standing) => standing.ask?.id !== ask.id);
    try {
      this.#options.type(Buffer.from(keys));
      const isShown = await shown.within(this.#limits.answeredMs);
      const standing = shown.standing ?? states.standing;
      return isShown
        ? {
            phase: "done",
            message: `${wordOf(choice)}; then ${standing.state}, seen by ${standing.channel}`,
          }
        : {
            phase: "unconfirmed",
            message: `${wordOf(choice)} was typed, and the dialog still stands`,
          };
    } finally {
      shown.stop();
    }
  }

  async #interrupt(): Promise<Outcome> {
    const { states, rules } = this.#options;
    if (states.standing.state === "idle") return refused("No turn runs: the CLI is idle");
    if ((await states.protocol?.interrupt?.(this.#over.signal)) === true)
      return { phase: "done", message: "by the CLI's own protocol" };
    return await this.#typing(async () => {
      const shown = this.#seen((standing) => standing.state === "idle");
      try {
        this.#options.type(Buffer.from(rules?.interruptKeys ?? "\x1b"));
        return (await shown.within(this.#limits.interruptedMs))
          ? {
              phase: "done",
              message: `idle, seen by ${shown.standing?.channel}: ${shown.standing?.evidence}`,
            }
          : {
              phase: "unconfirmed",
              message: "its interrupt key was typed, and it is not idle yet",
            };
      } finally {
        shown.stop();
      }
    });
  }

  #seen(wanted: (standing: Standing) => boolean): Seen {
    return new Seen(this.#options, wanted, this.#over.signal);
  }

  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve) => this.#options.clock.after(ms, resolve));
    this.#over.signal.throwIfAborted();
  }
}

/** Waits for a state from now on, with the standing that showed it. */
class Seen {
  standing: Standing | null = null;
  readonly stop: () => void;
  readonly #clock: Clock;
  readonly #came: Promise<void>;
  readonly #signal: AbortSignal;

  constructor(
    { states, clock }: Pick<InteractionOptions, "states" | "clock">,
    wanted: (standing: Standing) => boolean,
    signal: AbortSignal,
  ) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#clock = clock;
    this.#came = promise;
    this.#signal = signal;
    this.stop = states.onChange((standing) => {
      if (this.standing !== null || !wanted(standing)) return;
      this.standing = standing;
      resolve();
    });
  }

  async within(ms: number): Promise<boolean> {
    if (this.standing === null) {
      const late = Promise.withResolvers<void>();
      const cancel = this.#clock.after(ms, late.resolve);
      this.#signal.addEventListener("abort", () => late.resolve(), { once: true });
      await Promise.race([this.#came, late.promise]);
      cancel();
      this.#signal.throwIfAborted();
    }
    return this.standing !== null;
  }
}

function isStructured({ channel }: Standing): boolean {
  return channel !== "title" && channel !== "screen" && channel !== "output";
}

function notIdle({ state }: Standing): string {
  return `The CLI is ${state} and takes no prompt; wait until it is idle`;
}

function wordOf(choice: Choice): string {
  return choice.kind === "option" ? `option ${choice.key}` : choice.kind;
}

function optionsOf({ options }: Ask): string {
  return options.length === 0
    ? ""
    : `; its options are ${options.map(({ key }) => key).join(", ")}`;
}
