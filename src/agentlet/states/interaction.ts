import type { AgentletCommand, AgentletEvent, Choice } from "../../protocol/agentlet-link.ts";
import { messageOf } from "../../kit/platform-error.ts";
import { ActLife } from "./act-life.ts";
import { answerAsk, overOf } from "./answer-ask.ts";
import { Controls, refused } from "./controls.ts";
import type { ActOutcome, ControlsOptions } from "./controls.ts";
import { InputLease, type InputLeaseOptions } from "./input-lease.ts";
import { cleanPrompt } from "./keystrokes.ts";
import type { ScreenMatch } from "./match-screen.ts";
import { KEY_GAP_MS } from "./screen-rule.ts";
import { notIdle, submitPrompt } from "./submit-prompt.ts";

type ActEvent = Extract<AgentletEvent, { type: "act" }>;
type Act = ActEvent["act"];
type ActCommand = Extract<AgentletCommand, { kind: Act | "withdraw" }>;

/** What a screen shows while there is a turn to be broken off. */
const RUNNING: ReadonlySet<string> = new Set(["busy", "permission", "question"]);

/** Who asked for an act: a command from afar, or a policy of the Agent. */
export interface Asker {
  request: string | null;
  by: string;
}

export interface InteractionOptions extends ControlsOptions {
  outputOffset: () => number;
  emit: (event: AgentletEvent) => void;
  /** The keyboard changed hands. */
  onHands: InputLeaseOptions["onHands"];
  /** A person's paste is not over. */
  isPasting?: () => boolean;
}

/**
 * What is done to a running CLI from afar: prompts, answers, interruptions. Each is told when it is taken and once more when it is
 * known to have arrived, or not to, the end of the program included. All of it is typed, with the
 * keyboard in one hand at a time.
 */
export class Interaction implements AsyncDisposable {
  readonly lease: InputLease;
  readonly #options: InteractionOptions;
  readonly #controls: Controls;
  /** each with the promise that settles once it is told what became of it */
  readonly #acts = new Map<ActLife, { request: string | null; told: Promise<unknown> }>();

  constructor(options: InteractionOptions) {
    this.#options = options;
    this.#controls = new Controls(options);
    const { clock, onHands, isPasting = () => false } = options;
    const onPerson = (keys: Buffer) => this.#controls.composer.personTypes(keys);
    this.lease = new InputLease({ clock, onHands, onPerson, isPasting });
  }

  /** Takes a command of the manager; what became of it is told as `act` events. Never rejects. */
  async handle(command: ActCommand): Promise<void> {
    if (command.kind === "withdraw") {
      for (const [life, { request }] of this.#acts)
        if (request === command.request) life.withdraw(`Withdrawn: ${command.reason}`);
      return;
    }
    const asker: Asker = { request: command.request, by: command.by };
    switch (command.kind) {
      case "prompt":
        await this.prompt(asker, command.text);
        return;
      case "answer":
        await this.answer(asker, command.ask, command.choice);
        return;
      case "interrupt":
        await this.#act("interrupt", asker, null, async (life) => await this.#interrupt(life));
        return;
    }
  }

  /** Gives an idle CLI a prompt; what became of it. Never rejects. */
  async prompt(asker: Asker, text: string): Promise<ActOutcome["phase"]> {
    return await this.#act("prompt", asker, null, async (life) => await this.#prompt(life, text));
  }

  /** Answers the ask that stands, or refuses when another one, or a dialog with other looks, is meant; what became of it. Never rejects. */
  async answer(
    asker: Asker,
    ask: number | null,
    choice: Choice,
    judged: string | null = null,
  ): Promise<ActOutcome["phase"]> {
    const id = ask ?? this.#controls.standing.ask?.id ?? null;
    return await this.#act(
      "answer",
      asker,
      id,
      async (life) => await this.#answer(life, id, choice, judged),
    );
  }

  /** The dialog of this ask on the screen; null while it is not there. */
  dialogOf(ask: number): ScreenMatch | null {
    return this.#controls.dialogOf(ask);
  }

  /** The program has ended: nothing is typed any more. Settles once what became of every act is told. */
  async close(): Promise<void> {
    this.#controls[Symbol.dispose]();
    await Promise.all([...this.#acts.values()].map(async ({ told }) => await told));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #act(
    act: Act,
    asker: Asker,
    ask: number | null,
    run: (life: ActLife) => Promise<ActOutcome>,
  ): Promise<ActOutcome["phase"]> {
    const tell = <Phase extends ActEvent["phase"]>(phase: Phase, message: string): Phase => {
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
      return phase;
    };
    const most = this.#controls.limits.waiting;
    if (this.#acts.size >= most) return tell("refused", `${most} acts are waiting already`);
    const life = new ActLife(this.#controls.signal);
    tell("accepted", "taken");
    const told = (async () => {
      try {
        life.signal.throwIfAborted();
        const outcome = await run(life);
        return tell(outcome.phase, outcome.message);
      } catch (error) {
        if (!life.hasTyped) return tell("refused", messageOf(error));
        // A program that an interruption ended has no turn that runs: nobody knows it better than its process.
        return act === "interrupt" && this.#controls.signal.aborted
          ? tell("done", "the program has ended")
          : tell("unconfirmed", `it was typed; then: ${messageOf(error)}`);
      }
    })();
    this.#acts.set(life, { request: asker.request, told });
    try {
      return await told;
    } finally {
      this.#acts.delete(life);
    }
  }

  /** Acts with the keyboard in hand. */
  async #typing(life: ActLife, act: () => Promise<ActOutcome>): Promise<ActOutcome> {
    const outcome = await this.lease.automation(async () => {
      this.#controls.handTo(life);
      return await act();
    }, life.signal);
    return outcome === "busy"
      ? refused("A person is typing; try again when they have stopped")
      : outcome;
  }

  async #prompt(life: ActLife, prompt: string): Promise<ActOutcome> {
    const { standing } = this.#controls;
    const { text, removed } = cleanPrompt(prompt);
    if (text.trim() === "")
      return refused("Nothing is left of the prompt without control characters");
    const note = removed === 0 ? "" : `; ${removed} control characters were left out`;
    if (standing.state !== "idle") return refused(notIdle(standing));
    const outcome = await this.#typing(life, async () => await submitPrompt(this.#controls, text));
    return { ...outcome, message: outcome.message + note };
  }

  async #answer(
    life: ActLife,
    id: number | null,
    choice: Choice,
    judged: string | null,
  ): Promise<ActOutcome> {
    const { standing } = this.#controls;
    const { ask } = standing;
    if (ask === null || id === null)
      return refused(`Nothing is asked: the CLI is ${standing.state}`);
    if (ask.id !== id) return refused(overOf({ id }, ask));
    return await this.#typing(
      life,
      async () => await answerAsk(this.#controls, ask, choice, judged),
    );
  }

  async #interrupt(life: ActLife): Promise<ActOutcome> {
    const { standing, rules, limits } = this.#controls;
    // A hook may say idle while a turn runs for everybody to see.
    const visible = this.#controls.onScreen()?.state ?? "idle";
    const isClaimedIdle = standing.state === "idle";
    if (isClaimedIdle && !RUNNING.has(visible)) return refused("No turn runs: the CLI is idle");
    return await this.#typing(life, async () => {
      const shown = this.#controls.seen(({ state }) => state === "idle");
      try {
        // Apart: two Esc that come as one are the key Alt+Esc to most programs.
        for (const [at, key] of (rules?.interruptKeys ?? "\x1b").split("").entries()) {
          if (at > 0) await this.#controls.sleep(KEY_GAP_MS);
          if (!this.#controls.type(key)) return refused("The program does not read its input");
        }
        const isIdle = isClaimedIdle
          ? await this.#controls.until(
              () => this.#controls.onScreen()?.state === "idle",
              limits.interruptedMs,
              50,
            )
          : await shown.within(limits.interruptedMs);
        if (!isIdle)
          return {
            phase: "unconfirmed",
            message: "its interrupt key was typed, and it is not idle yet",
          };
        const { channel, evidence } = shown.standing ?? standing;
        return { phase: "done", message: `idle, seen by ${channel}: ${evidence}` };
      } finally {
        shown.stop();
      }
    });
  }
}
