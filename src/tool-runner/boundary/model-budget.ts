import type { ModelBudget as BudgetLimits } from "../../protocol/agent-manifest.ts";
import type { ModelUsage } from "../../protocol/audit.ts";
import { Refusal } from "./refusal.ts";

/** What a run's model requests took so far. */
export interface ModelUse {
  requests: number;
  inputTokens: number;
  outputTokens: number;
}

type Limit = keyof BudgetLimits;

/** A limit that was reached, for the record. */
export interface BudgetReached {
  limit: Limit;
  allowed: number;
  used: number;
}

/** What nobody told is charged by its size: bytes of the request and of the answer for one token. Rather too much than nothing. */
const BYTES_OF_INPUT_TOKEN = 4;
const BYTES_OF_OUTPUT_TOKEN = 16;

/** What a request is charged with: what the provider said, else an estimate that is never zero. */
export function chargeOf(request: {
  usage?: ModelUsage | undefined;
  bytesUp: number;
  bytesDown: number;
}): Omit<ModelUse, "requests"> {
  const { usage = "unknown", bytesUp, bytesDown } = request;
  if (usage !== "unknown")
    return { inputTokens: usage.inputTokens, outputTokens: usage.outputTokens };
  return {
    inputTokens: Math.ceil((bytesUp + 1) / BYTES_OF_INPUT_TOKEN),
    outputTokens: Math.ceil((bytesDown + 1) / BYTES_OF_OUTPUT_TOKEN),
  };
}

/**
 * `model.budget` of a run: requests are counted when they are let go, tokens when their answer is over. At a limit no further request
 * is let go; what is open at that moment is not cut off, so tokens may end above the limit by what those answers take.
 */
export class ModelBudget {
  readonly #limits: BudgetLimits;
  readonly #used: ModelUse;
  readonly #onReached: (reached: BudgetReached) => void;
  readonly #told = new Set<Limit>();

  /** `used`: what an earlier life of the tool-runner has put on record. `onReached` is called once for each limit. */
  constructor(
    limits: BudgetLimits | undefined,
    used: Readonly<ModelUse>,
    onReached: (reached: BudgetReached) => void,
  ) {
    this.#limits = limits ?? {};
    this.#used = { ...used };
    this.#onReached = onReached;
  }

  /** Counts a request in. Throws a `Refusal` at a limit. */
  admit(): void {
    const reached = this.#reached();
    if (reached !== null) {
      this.#tell(reached);
      throw exhausted(reached);
    }
    this.#used.requests += 1;
  }

  /** Adds what an answer took. */
  charge(request: Parameters<typeof chargeOf>[0]): void {
    const { inputTokens, outputTokens } = chargeOf(request);
    this.#used.inputTokens += inputTokens;
    this.#used.outputTokens += outputTokens;
    const reached = this.#reached();
    if (reached !== null) this.#tell(reached);
  }

  #reached(): BudgetReached | null {
    const { requests, inputTokens, outputTokens } = this.#used;
    const used: Record<Limit, number> = {
      requests,
      inputTokens,
      outputTokens,
      totalTokens: inputTokens + outputTokens,
    };
    for (const limit of Object.keys(used) as Limit[]) {
      const allowed = this.#limits[limit];
      if (allowed !== undefined && used[limit] >= allowed)
        return { limit, allowed, used: used[limit] };
    }
    return null;
  }

  #tell(reached: BudgetReached): void {
    if (this.#told.has(reached.limit)) return;
    this.#told.add(reached.limit);
    this.#onReached(reached);
  }
}

/** 403, which no client tries again by itself and every one shows to the person. */
function exhausted({ limit, allowed, used }: BudgetReached): Refusal {
  return new Refusal(
    403,
    "refused_budget",
    "model_budget_reached",
    `The model budget of this run is used up: ${used} of ${allowed} ${limit}`,
    `raise spec.model.budget.${limit} of the Agent and start the run again`,
  );
}
