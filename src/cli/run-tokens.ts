import { randomBytes } from "node:crypto";
import { mintToken, tokenHash } from "../kit/token.ts";
import { createSigningKey, type SigningKey } from "../kit/signing.ts";
import type { RegisterRun } from "../protocol/manager-api.ts";

/** The four tokens of a run, one audience each, what the manager keeps of three of them, and the keys of its audit. */
export interface RunTokens {
  readonly agent: string;
  readonly agentlet: string;
  readonly recorder: string;
  readonly runner: string;
  readonly hashes: RegisterRun["tokenHashes"];
  /** signs the run's receipts; in the tool-runner and here only, over all its lives */
  readonly signing: SigningKey;
  /** of the recorder, for the recording's checkpoints */
  readonly recordingKey: SigningKey;
  /** HMAC key of the arguments' digests */
  readonly auditKey: Buffer;
}

/** Mints tokens and keys of one run: 256 random bits each. */
export function mintTokens(): RunTokens {
  const [agent, agentlet, recorder, runner] = [mintToken(), mintToken(), mintToken(), mintToken()];
  return {
    agent,
    agentlet,
    recorder,
    runner,
    hashes: {
      agentlet: tokenHash(agentlet),
      recorder: tokenHash(recorder),
      runner: tokenHash(runner),
    },
    signing: createSigningKey(),
    recordingKey: createSigningKey(),
    auditKey: randomBytes(32),
  };
}
