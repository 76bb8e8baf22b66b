import type { AgentState, Ask, StateChannel } from "../../protocol/agentlet-link.ts";
import type { Clock } from "./clock.ts";
import { saysNothing } from "./same-dialog.ts";
import type { AskClaim, Signal, SignalChannel } from "./signal.ts";

export const JUDGE_LIMITS = {
  /** a surer channel that says idle or permission is overruled by a screen that says otherwise for this long */
  graceMs: 1000,
  /** a surer channel that says busy is overruled by a screen that rests idle for this long */
  idleGraceMs: 1500,
  /** the same when it has rested so since before the surer channel spoke: a CLI may take seconds to draw the turn that it has begun */
  staleIdleGraceMs: 10_000,
};

/** How sure a channel is. One that speaks is believed until a less sure one has shown for a while that it is dead. */
const RANK: Record<SignalChannel, number> = {
  event: 3,
  hook: 3,
  transcript: 2,
  title: 1,
  screen: 1,
  output: 0,
};

/** What the CLI's state is held to be, and who said so. */
export interface Standing {
  state: AgentState;
  channel: StateChannel;
  evidence: string;
  /** on the judge's clock */
  atMs: number;
  ask: Ask | null;
}

export interface StateJudgeOptions {
  clock: Clock;
  outputOffset: () => number;
  /** Called at each change of state or of what is asked. */
  onChange: (standing: Standing, offset: number) => void;
  /** A channel is silent and was overruled: a sentence for people. Called once for each silence. */
  onDeadChannel: (message: string) => void;
  limits?: Partial<typeof JUDGE_LIMITS>;
}

interface Claim {
  signal: Signal;
  /** since when this source has said this */
  sinceMs: number;
  /** it has said what stands, since it stands */
  agreed: boolean;
  cancel: (() => void) | null;
}

/**
 * Merges what the channels of one CLI claim into one state. The surest channel that lives is believed at once; a less
 * sure one only when it has shown for a while that the surer is silent, and then that is said. Idle is only ever
 * claimed, never concluded; `unknown` overrules nobody.
 */
export class StateJudge implements Disposable {
  readonly #options: StateJudgeOptions;
  readonly #limits: typeof JUDGE_LIMITS;
  readonly #claims = new Map<number, Claim>();
  readonly #dead = new Set<number>();
  #standing: Standing;
  #asks = 0;
  #ended = false;

  constructor(options: StateJudgeOptions) {
    this.#options = options;
    this.#limits = { ...JUDGE_LIMITS, ...options.limits };
    const atMs = options.clock.now();
    this.#standing = { state: "starting", channel: "process", evidence: "", atMs, ask: null };
  }

  get standing(): Standing {
    return this.#standing;
  }

  /** A fact about the process itself, which no channel can deny. `exited` is final. */
  process(state: "starting" | "exited", evidence: string): void {
    if (this.#ended) return;
    if (state === "exited") this[Symbol.dispose]();
    this.#stand(state, "process", evidence, null, this.#options.outputOffset());
  }

  /** A claim of a channel. */
  signal(signal: Signal): void {
    if (this.#ended) return;
    const rank = RANK[signal.channel];
    const now = this.#options.clock.now();
    const before = this.#claims.get(rank);
    before?.cancel?.();
    // That a turn was broken off is news also to a screen that looked idle before it.
    const isSame =
      before?.signal.state === signal.state &&
      (signal.endsTurn !== true || before.signal.endsTurn === true);
    const claim: Claim = {
      signal,
      sinceMs: isSame ? before.sinceMs : now,
      agreed: before?.agreed ?? false,
      cancel: null,
    };
    this.#claims.set(rank, claim);
    this.#dead.delete(rank);
    if (rank >= this.#lead()) return this.#adopt(signal);
    if (signal.state === this.#standing.state) {
      claim.agreed = true;
      return this.#complete(signal);
    }
    this.#wait(rank, claim);
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    for (const claim of this.#claims.values()) claim.cancel?.();
  }

  /** The rank of the surest channel that has spoken and is not known to be dead. */
  #lead(): number {
    let lead = -1;
    for (const rank of this.#claims.keys()) if (!this.#dead.has(rank)) lead = Math.max(lead, rank);
    return lead;
  }

  /** How long a less sure channel must go on contradicting what stands; null when it never overrules. */
  #patience({ signal, sinceMs, agreed }: Claim): number | null {
    if (this.#standing.channel === "process" && this.#standing.state === "exited") return null;
    const { state, atMs } = this.#standing;
    const { graceMs, idleGraceMs, staleIdleGraceMs } = this.#limits;
    const { clock } = this.#options;
    const isNews = sinceMs > atMs;
    switch (signal.state) {
      case "unknown":
      case "starting":
        return null;
      case "permission":
      case "question":
      case "blocked":
        return isNews ? 0 : graceMs;
      case "busy":
        // A dialog that this channel has never seen cannot be gone for it.
        if (WAITS.has(state)) return agreed ? 0 : null;
        return isNews && agreed ? 0 : graceMs;
      case "idle":
        // A dialog that has gone was answered: its composer may stand there before the turn is seen to go on.
        if (!isNews) return Math.max(idleGraceMs, atMs + staleIdleGraceMs - clock.now());
        return signal.endsTurn === true ? 0 : idleGraceMs;
    }
  }

  /** Believes a contradicting claim at once, later or never. */
  #wait(rank: number, claim: Claim): void {
    const waitMs = this.#patience(claim);
    if (waitMs === null) return;
    if (waitMs <= 0) return this.#adopt(claim.signal);
    claim.cancel = this.#options.clock.after(waitMs, () => this.#overrule(rank, claim));
  }

  #overrule(rank: number, claim: Claim): void {
    if (this.#ended || this.#claims.get(rank) !== claim) return;
    const silent = [...this.#claims].filter(([other]) => other > rank && !this.#dead.has(other));
    const before = this.#standing;
    for (const [other] of silent) this.#dead.add(other);
    this.#adopt(claim.signal);
    const names = [...new Set(silent.map(([, { signal }]) => signal.channel))].join(", ");
    if (names !== "")
      this.#options.onDeadChannel(
        `The ${names} channel still says ${before.state} while the ${claim.signal.channel} says ${claim.signal.state} (${claim.signal.evidence}); the ${claim.signal.channel} is believed until the other speaks again`,
      );
  }

  #adopt(signal: Signal): void {
    const { state, channel, evidence, ask } = signal;
    const offset = signal.offset ?? this.#options.outputOffset();
    if (state === this.#standing.state) return this.#complete(signal);
    this.#stand(state, channel, evidence, this.#newAsk(state, ask), offset);
  }

  /** The same state again: perhaps with more about what is asked, perhaps with another ask. */
  #complete(signal: Signal): void {
    const standing = this.#standing;
    const { ask } = signal;
    if (ask === undefined || !WAITS.has(standing.state)) return;
    const offset = signal.offset ?? this.#options.outputOffset();
    const { ask: old } = standing;
    const isOther =
      old === null ||
      // An answer to the ask that said nothing was given without knowing what this one says.
      (saysNothing(old.kind, old) && !saysNothing(old.kind, ask)) ||
      (signal.channel === standing.channel &&
        (old.text !== ask.text || (old.detail !== ask.detail && old.tool === ask.tool)));
    if (isOther) {
      this.#stand(
        standing.state,
        signal.channel,
        signal.evidence,
        this.#newAsk(signal.state, ask),
        offset,
      );
      return;
    }
    const merged: Ask = {
      ...old,
      tool: old.tool ?? ask.tool,
      text: old.text === "" ? ask.text : old.text,
      detail: old.detail === "" ? ask.detail : old.detail,
      options: old.options.length === 0 ? ask.options : old.options,
    };
    const isMore = merged.options.length > old.options.length || merged.tool !== old.tool;
    if (!isMore) return;
    this.#stand(standing.state, standing.channel, standing.evidence, merged, offset);
  }

  #newAsk(state: AgentState, claim: AskClaim | undefined): Ask | null {
    if (state !== "permission" && state !== "question") return null;
    this.#asks += 1;
    const nothing: AskClaim = { tool: null, text: "", detail: "", options: [] };
    return { id: this.#asks, kind: state, ...(claim ?? nothing) };
  }

  #stand(
    state: AgentState,
    channel: StateChannel,
    evidence: string,
    ask: Ask | null,
    offset: number,
  ): void {
    const isNew = state !== this.#standing.state;
    const atMs = isNew ? this.#options.clock.now() : this.#standing.atMs;
    this.#standing = { state, channel, evidence: evidence.slice(0, 1024), atMs, ask };
    this.#options.onChange(this.#standing, offset);
    if (isNew) this.#reconsider();
  }

  /** What less sure channels go on saying counts against what stands now. */
  #reconsider(): void {
    const { state } = this.#standing;
    const lead = this.#lead();
    for (const [rank, claim] of this.#claims) {
      claim.cancel?.();
      claim.cancel = null;
      claim.agreed = claim.signal.state === state;
      if (rank < lead && !claim.agreed && !this.#ended) this.#wait(rank, claim);
    }
  }
}

/** States in which the CLI waits for an answer. */
const WAITS: ReadonlySet<AgentState> = new Set(["permission", "question", "blocked"]);
