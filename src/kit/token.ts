import { createHash, randomBytes } from "node:crypto";

/** A new bearer token: 256 random bits in base64url. */
export function mintToken(): string {
  return randomBytes(32).toString("base64url");
}

/** What is kept of a token: its SHA-256 in hex. */
export function tokenHash(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}
