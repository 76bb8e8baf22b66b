import { createHmac, timingSafeEqual } from "node:crypto";
import * as z from "zod";
import { GrantId } from "./ids.ts";
import { ProtocolVersion } from "./version.ts";

/**
 * The opening of a unix socket between trusted parts: the server sends `Challenge`, the client answers `Proof`, each one
 * JSON line. The token itself never crosses the socket. An answer that is late (2 s) or wrong closes the connection.
 */
export const Challenge = z.strictObject({
  protocol: ProtocolVersion,
  nonce: z.string().regex(/^[0-9a-f]{64}$/),
});
export type Challenge = z.infer<typeof Challenge>;

export const Proof = z.strictObject({
  protocol: ProtocolVersion,
  role: z.enum(["agentlet", "runner"]),
  grant_id: GrantId.optional().describe("a producer of this shell's recording, not of the run's"),
  mac: z.string().regex(/^[0-9a-f]{64}$/),
});
export type Proof = z.infer<typeof Proof>;

/** HMAC-SHA256 of role, nonce and shell under the token of that role. */
export function macOf(token: string, role: Proof["role"], nonce: string, grant?: string): string {
  const said = `agentkube/${role}/${nonce}${grant === undefined ? "" : `/${grant}`}`;
  return createHmac("sha256", token).update(said).digest("hex");
}

/** True when the proof was made with `token` for this nonce; compares in constant time. */
export function isProven(proof: Proof, token: string, nonce: string): boolean {
  return timingSafeEqual(
    Buffer.from(proof.mac, "hex"),
    Buffer.from(macOf(token, proof.role, nonce, proof.grant_id), "hex"),
  );
}
