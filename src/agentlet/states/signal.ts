import type { AgentState, Ask, StateChannel } from "../../protocol/agentlet-link.ts";

/** Where a signal can come from. The process itself speaks through `StateJudge.process`, not through signals. */
export type SignalChannel = Exclude<StateChannel, "process">;

/**
 * One claim about the CLI: what a hook, an event, a transcript, a title or a screen says its state is.
 * All of it comes from inside zone A: it moves states, never outcomes or approvals.
 */
export interface Signal {
  channel: SignalChannel;
  state: Exclude<AgentState, "exited">;
  /** what said so, for a person: a hook's name, a rule's name; no secret, at most 1,024 characters count */
  evidence: string;
  /** bytes of PTY output before this; the current offset unless given */
  offset?: number;
  /** what is asked, with `permission` and `question` */
  ask?: AskClaim;
  /** the turn is over for sure (the CLI says "interrupted"): overrules a silent structured channel at once */
  endsTurn?: boolean;
}

/** What a CLI asks of a person, as a channel read it. */
export type AskClaim = Omit<Ask, "id" | "kind">;
