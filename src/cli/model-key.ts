import { isUtf8 } from "node:buffer";
import { PlatformError } from "../kit/platform-error.ts";
import type { Agent } from "../protocol/agent-manifest.ts";
import { hasOwnService } from "../protocol/runtimes.ts";
import { DEFAULT_MODEL_KEY } from "./manifests/from-words.ts";
import type { SecretNeed } from "./secrets.ts";

/** Shorter values occur in ordinary text; of longer ones not every part would be masked. */
const ZONE_KEY_BYTES = { least: 8, most: 4096 };

/** NAME/KEY of the model's key where the Agent names none. */
export const MODEL_SECRET = `${DEFAULT_MODEL_KEY.name}/${DEFAULT_MODEL_KEY.key}`;

/** The secret of the model key: the one that the Agent names, else the usual one when the command line gives it. */
export function modelSecretOf(agent: Agent, given: readonly string[]): SecretNeed[] {
  const ref = agent.spec.agentToken?.secretRef;
  const neededBy = `the model of Agent "${agent.metadata.name}"`;
  if (ref !== undefined) return [{ id: `${ref.name}/${ref.key}`, neededBy }];
  return given.includes(MODEL_SECRET) ? [{ id: MODEL_SECRET, neededBy }] : [];
}

/** The model's key and where it goes; at most one of both is set. */
export interface DeliveredKey {
  /** the gateway puts it in */
  readonly modelKey: Buffer | null;
  /** with `agentToken.delivery: env` it enters zone A; then the gateway has none */
  readonly zoneModelKey: Buffer | null;
}

/** Where the model key goes: to the gateway, or by `delivery: env` into zone A. Throws when it cannot be delivered or not be masked. */
export function modelKeyOf(agent: Agent, key: Buffer | null): DeliveredKey {
  const { runtime, agentToken } = agent.spec;
  if (hasOwnService(runtime) && key !== null && agentToken?.delivery !== "env")
    throw new PlatformError(
      "invalid_manifest",
      `Cannot run Agent "${agent.metadata.name}": ${runtime} has no custom endpoint, so brokered delivery of its key is refused`,
      {
        path: "spec.agentToken.delivery",
        fix: "write an Agent manifest with agentToken.delivery: env, which gives the key to the agent",
      },
    );
  if (agentToken?.delivery !== "env" || key === null) return { modelKey: key, zoneModelKey: null };
  const problem = problemOfZoneKey(key);
  if (problem === null) return { modelKey: null, zoneModelKey: key };
  throw new PlatformError(
    "invalid_manifest",
    `Cannot run Agent "${agent.metadata.name}": agentToken.delivery env ${problem}`,
    { fix: "use delivery: brokered, which never shows the key to the agent" },
  );
}

/** What a person should know about a key that enters zone A. */
export function zoneKeyNotes({ spec }: Agent): string[] {
  if (spec.agentToken?.delivery !== "env" || spec.network !== "gateway") return [];
  return [
    "agentToken.delivery env: the CLI speaks to the provider itself, which spec.network gateway does not let it reach",
  ];
}

/** A variable ends at NUL and is text; a value that is too short or too long could not be masked in the recording. */
function problemOfZoneKey(key: Buffer): string | null {
  if (!isUtf8(key) || key.includes(0)) return "expects a key that is text, got other bytes";
  const { least, most } = ZONE_KEY_BYTES;
  if (key.length >= least && key.length <= most) return null;
  return `expects a key of ${least} to ${most} bytes, which the recording can mask, got ${key.length}`;
}
