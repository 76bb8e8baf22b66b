import type { CredentialBudget } from "../../protocol/tool-manifest.ts";
import { bytesOf, millisecondsOf } from "../../protocol/quantities.ts";
import { Refusal } from "./refusal.ts";

/** What may still be used of one thing: of a call, or of a credential in it. */
export interface Budget {
  requests: number;
  connections: number;
  up: number;
  down: number;
  timeMs: number;
}

/** The budget of a credential as its rule declares it; undeclared parts have no bound of their own. */
export function budgetOf(declared: CredentialBudget | undefined): Budget {
  const { requests, connections, up, down, time } = declared ?? {};
  return {
    requests: requests ?? Number.POSITIVE_INFINITY,
    connections: connections ?? Number.POSITIVE_INFINITY,
    up: up === undefined ? Number.POSITIVE_INFINITY : bytesOf(up),
    down: down === undefined ? Number.POSITIVE_INFINITY : bytesOf(down),
    timeMs: time === undefined ? Number.POSITIVE_INFINITY : millisecondsOf(time),
  };
}

/** Counts what one call spends of a budget, and refuses what is beyond it. */
export class Spending {
  readonly #whose: string;
  readonly #budget: Budget;
  #requests = 0;
  #open = 0;
  #up = 0;
  #down = 0;
  #firstAt: number | null = null;

  /** `whose`: how a refusal names it, such as `Credential "github"`. */
  constructor(whose: string, budget: Budget) {
    this.#whose = whose;
    this.#budget = budget;
  }

  /** Milliseconds until its time is over. */
  get leftMs(): number {
    if (this.#firstAt === null) return this.#budget.timeMs;
    return this.#firstAt + this.#budget.timeMs - performance.now();
  }

  /** Begins a request; disposing ends it. Throws a `Refusal` 429 when nothing is left. */
  begin(): Disposable {
    this.#firstAt ??= performance.now();
    const { requests, connections, up, down } = this.#budget;
    if (this.#requests >= requests) throw this.#spent(`its ${requests} requests`);
    if (this.#open >= connections) throw this.#spent(`its ${connections} connections at once`);
    if (this.#up >= up) throw this.#spent(`its ${up} bytes up`);
    if (this.#down >= down) throw this.#spent(`its ${down} bytes down`);
    this.checkTime();
    this.#requests += 1;
    this.#open += 1;
    return { [Symbol.dispose]: () => void (this.#open -= 1) };
  }

  /** Throws a `Refusal` 429 when its time is over. */
  checkTime(): void {
    if (this.leftMs <= 0) throw this.#spent(`its ${this.#budget.timeMs} ms`);
  }

  up(bytes: number): void {
    this.checkTime();
    this.#up += bytes;
    if (this.#up > this.#budget.up) throw this.#spent(`its ${this.#budget.up} bytes up`);
  }

  down(bytes: number): void {
    this.checkTime();
    this.#down += bytes;
    if (this.#down > this.#budget.down) throw this.#spent(`its ${this.#budget.down} bytes down`);
  }

  #spent(what: string): Refusal {
    return new Refusal(
      429,
      "refused_rule",
      "budget_spent",
      `${this.#whose} has used up ${what} in this call`,
      "raise the budget of the credential's rule, or ask for less in one call",
    );
  }
}
