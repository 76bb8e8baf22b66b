import { randomBytes } from "node:crypto";
import * as z from "zod";

/** A run, and the session of its terminal. Safe as a file name, a host label and a URL segment. */
export const RunId = z
  .string()
  .regex(
    /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
    "expected lowercase letters, digits and dashes, at most 63",
  )
  .describe("run id");
export type RunId = z.infer<typeof RunId>;

/** One tool call: 128 random bits in hex. */
export const CallId = z
  .string()
  .regex(/^[0-9a-f]{32}$/)
  .describe("call id");
export type CallId = z.infer<typeof CallId>;

/** A grant to open one shell, and the session of that shell: 64 random bits in hex. */
export const GrantId = z
  .string()
  .regex(/^[0-9a-f]{16}$/, "expected 16 hexadecimal digits")
  .describe("grant id");
export type GrantId = z.infer<typeof GrantId>;

/** A Kubernetes object name (RFC 1123 label). */
export const ObjectName = z
  .string()
  .regex(
    /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
    "expected a name of lowercase letters, digits and dashes, at most 63",
  );

/** Makes a run id that begins with the Agent's name and ends in 40 random bits. */
export function createRunId(agentName: string): RunId {
  const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
  const suffix = Array.from(randomBytes(8), (byte) => alphabet[byte & 31]).join("");
  const head = agentName
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]/g, "-")
    .replace(/^-+/, "")
    .slice(0, 54);
  return `${head === "" ? "run" : head.replace(/-+$/, "")}-${suffix}`;
}

export function createCallId(): CallId {
  return randomBytes(16).toString("hex");
}

export function createGrantId(): GrantId {
  return randomBytes(8).toString("hex");
}

/** The session of a shell's recording, as `/v1/recordings/{session}` names it; a run's own session is its run id. */
export function shellSession(run: RunId, grant: GrantId): string {
  return `${run}.${grant}`;
}
