import type { Approvals, ApprovalAnswer } from "../../protocol/agent-manifest.ts";
import type { Clock } from "./clock.ts";
import type { Interaction } from "./interaction.ts";
import type { ScreenMatch } from "./match-screen.ts";
import type { RunStates } from "./run-states.ts";
import { looksOf } from "./same-dialog.ts";
import type { Standing } from "./state-judge.ts";

/** How long an unattended ask waits for an answer unless the Agent says otherwise. */
export const APPROVAL_TIMEOUT_MS = 15 * 60_000;
/** How often it is looked whether somebody is attached; while somebody is, an ask waits for them. */
const LOOK_MS = 500;
/** How long the dialog may take to be drawn before the policy gives up reading it. */
const DIALOG_MS = 10_000;
const DIALOG_LOOK_MS = 50;

export interface ApproverOptions {
  states: RunStates;
  interaction: Interaction;
  clock: Clock;
  approvals: Approvals | undefined;
  timeoutMs: number | undefined;
  /** true while somebody is attached who could answer */
  hasWriter: () => boolean;
  notice: (message: string) => void;
}

/**
 * Answers for the Agent: by its policy at once, with a refusal when nobody answers in time. The policy reads the dialog on
 * the screen, never what a hook says it is; it spares a person questions and protects nothing that zone A does not.
 */
export class Approver implements Disposable {
  readonly #options: ApproverOptions;
  readonly #stop: () => void;
  #cancel: (() => void) | null = null;
  #ask = 0;
  #over = false;

  constructor(options: ApproverOptions) {
    this.#options = options;
    this.#stop = options.states.onChange((standing) => this.#changed(standing));
  }

  [Symbol.dispose](): void {
    this.#over = true;
    this.#stop();
    this.#cancel?.();
  }

  #changed({ ask }: Standing): void {
    if (ask?.id === this.#ask) return;
    this.#cancel?.();
    this.#cancel = null;
    this.#ask = ask?.id ?? 0;
    if (ask === null) return;
    const { approvals, clock } = this.#options;
    const since = clock.now();
    if (approvals === undefined || approvals === "ask") this.#wait(ask.id, 0);
    else if (ask.kind === "question") {
      if (approvals === "deny") this.#answer(ask.id, "deny", "spec.approvals");
      else this.#wait(ask.id, 0);
    } else this.#decide(ask.id, approvals, since);
  }

  /** A policy by tool needs the dialog itself. What cannot be read is asked. */
  #decide(id: number, approvals: Approvals, sinceMs: number): void {
    const { clock, interaction } = this.#options;
    const dialog = interaction.dialogOf(id);
    const isDoubtful = dialog !== null && this.#isClaimedOther(dialog);
    const said =
      dialog === null
        ? null
        : approvalOf(approvals, isDoubtful ? null : (dialog.ask?.tool ?? null));
    // A hook may be quicker than the screen: what it tells of may still come.
    const answer = isDoubtful && said === "ask" ? null : said;
    if (dialog !== null && (answer === "allow" || answer === "deny")) {
      const judged = looksOf(dialog);
      return this.#answer(id, answer, "spec.approvals", judged, () => {
        const now = interaction.dialogOf(id);
        const isOther = now !== null && looksOf(now) !== judged;
        if (isOther) this.#decide(id, approvals, sinceMs);
        return isOther;
      });
    }
    if (answer === "ask" || clock.now() - sinceMs > DIALOG_MS) return this.#wait(id, 0);
    this.#cancel = clock.after(DIALOG_LOOK_MS, () => this.#decide(id, approvals, sinceMs));
  }

  /** True when a hook or event says that another tool asks than the dialog names: a claim may take a name away, and gives none. */
  #isClaimedOther({ ask }: ScreenMatch): boolean {
    const claimed = this.#options.states.standing.ask?.tool ?? null;
    const shown = ask?.tool ?? null;
    // Of a server's tool the screen may show the last part of its name.
    return shown !== null && claimed !== null && !`__${claimed}`.endsWith(`__${shown}`);
  }

  #wait(id: number, waitedMs: number): void {
    const { clock, hasWriter, timeoutMs = APPROVAL_TIMEOUT_MS, notice } = this.#options;
    if (waitedMs >= timeoutMs) {
      notice(
        `Nobody answered within ${timeoutMs} ms (spec.approvalTimeout); what was asked is refused`,
      );
      return this.#answer(id, "deny", "spec.approvalTimeout");
    }
    const stepMs = Math.min(LOOK_MS, timeoutMs - waitedMs);
    this.#cancel = clock.after(stepMs, () => this.#wait(id, hasWriter() ? 0 : waitedMs + stepMs));
  }

  /** What could not be answered goes on waiting for a person, unless what stands there now is judged `anew`. */
  #answer(
    id: number,
    kind: "allow" | "deny",
    by: string,
    judged: string | null = null,
    anew: () => boolean = () => false,
  ): void {
    const { interaction } = this.#options;
    void interaction.answer({ request: null, by }, id, { kind }, judged).then((phase) => {
      if (phase === "done" || id !== this.#ask || this.#over) return;
      if (phase === "unconfirmed" || !anew()) this.#wait(id, 0);
    });
  }
}

/**
 * What a policy says of a tool. A list never allows one without a name: it may be one that the list denies. Only `*` can match it,
 * and what that would allow is asked.
 */
export function approvalOf(approvals: Approvals, tool: string | null): ApprovalAnswer {
  if (typeof approvals === "string") return approvals;
  const answer = approvals.find((each) => patternOf(each.tool).test(tool ?? ""))?.answer ?? "ask";
  return tool === null && answer === "allow" ? "ask" : answer;
}

function patternOf(pattern: string): RegExp {
  const parts = pattern
    .split(/\*+/)
    .map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`));
  return new RegExp(`^${parts.join("[^]*?")}$`);
}
