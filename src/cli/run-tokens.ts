import { createHash, randomBytes } from "node:crypto";
import type { RegisterRun } from "../protocol/manager-api.ts";

/** The four tokens of a run, one audience each, and what the manager keeps of three of them. */
export interface RunTokens {
  readonly agent: string;
  readonly agentlet: string;
  readonly recorder: string;
  readonly runner: string;
  readonly hashes: RegisterRun["tokenHashes"];
}

/** Mints the tokens of one run: 256 random bits each. */
export function mintTokens(): RunTokens {
  const [agent, agentlet, recorder, runner] = [mint(), mint(), mint(), mint()];
  return {
    agent,
    agentlet,
    recorder,
    runner,
    hashes: { agentlet: hash(agentlet), recorder: hash(recorder), runner: hash(runner) },
  };
}

function mint(): string {
  return randomBytes(32).toString("base64url");
}

function hash(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}
