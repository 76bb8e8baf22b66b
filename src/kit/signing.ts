import {
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  randomBytes,
  sign as signBytes,
  verify as verifyBytes,
} from "node:crypto";

/** DER heads of an Ed25519 private key (RFC 8410) and public key; 32 bytes follow each. */
const PRIVATE_HEAD = Buffer.from("302e020100300506032b657004220420", "hex");
const PUBLIC_HEAD = Buffer.from("302a300506032b6570032100", "hex");
const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
const PREFIX = "ed25519:";

/** A public key as it is written: `ed25519:` and 32 bytes in base64url. */
export const PUBLIC_KEY_PATTERN = /^ed25519:[A-Za-z0-9_-]{43}$/;
/** A signature as it is written: 64 bytes in base64url. */
export const SIGNATURE_PATTERN = /^[A-Za-z0-9_-]{86}$/;

/** An Ed25519 key. Its secret half is in this object only, unless its `seed` is asked for. */
export interface SigningKey {
  /** as `PUBLIC_KEY_PATTERN` */
  readonly publicKey: string;
  /**
   * Signs bytes for one purpose, as `SIGNATURE_PATTERN`. A signature made for one `context` is no signature for another; a context
   * is a fixed text of the program, such as `audit/receipt`.
   */
  sign(context: string, bytes: Uint8Array): string;
  /** The secret half, 32 bytes in base64url: for a file of mode 0600 or an inherited pipe, and nothing else. */
  seed(): string;
}

/** Makes a new key from the system's randomness. */
export function createSigningKey(): SigningKey {
  return readSigningKey(randomBytes(KEY_BYTES).toString("base64url"));
}

/** The key of a seed. Throws `TypeError` when it is not 32 bytes in base64url; the seed is not quoted. */
export function readSigningKey(seed: string): SigningKey {
  const bytes = Buffer.from(seed, "base64url");
  if (bytes.length !== KEY_BYTES || bytes.toString("base64url") !== seed)
    throw new TypeError("Expected the seed of a signing key: 32 bytes in base64url");
  const key = createPrivateKey({
    key: Buffer.concat([PRIVATE_HEAD, bytes]),
    format: "der",
    type: "pkcs8",
  });
  const publicBytes = createPublicKey(key).export({ format: "der", type: "spki" });
  return {
    publicKey: PREFIX + publicBytes.subarray(PUBLIC_HEAD.length).toString("base64url"),
    sign: (context, message) =>
      signBytes(null, messageOf(context, message), key).toString("base64url"),
    seed: () => seed,
  };
}

/** True when `signature` was made over exactly these bytes, for this context, by the key. False also for texts that are no key. */
export function isSignedBy(
  publicKey: string,
  context: string,
  bytes: Uint8Array,
  signature: string,
): boolean {
  if (!SIGNATURE_PATTERN.test(signature)) return false;
  const given = Buffer.from(signature, "base64url");
  const key = publicKeyOf(publicKey);
  // One signature has one spelling, or a copy could pass for another one.
  if (key === null || given.length !== SIGNATURE_BYTES || given.toString("base64url") !== signature)
    return false;
  return verifyBytes(null, messageOf(context, bytes), key, given);
}

function publicKeyOf(text: string): KeyObject | null {
  if (!PUBLIC_KEY_PATTERN.test(text)) return null;
  const bytes = Buffer.from(text.slice(PREFIX.length), "base64url");
  try {
    return createPublicKey({
      key: Buffer.concat([PUBLIC_HEAD, bytes]),
      format: "der",
      type: "spki",
    });
  } catch {
    return null;
  }
}

/** The context ends at the first NUL, so no context and message can be read as another pair. */
function messageOf(context: string, bytes: Uint8Array): Buffer {
  if (!/^[a-z0-9/-]{1,64}$/.test(context)) throw new TypeError("Expected a context of a-z 0-9 / -");
  return Buffer.concat([Buffer.from(`agentkube/${context}\0`), bytes]);
}
