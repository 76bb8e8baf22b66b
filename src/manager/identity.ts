import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { parseJson } from "../kit/json-lines.ts";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import { createSigningKey, readSigningKey, type SigningKey } from "../kit/signing.ts";
import {
  type Countersignature,
  type Countersigned,
  countersignedBytes,
  PublicKey,
} from "../protocol/countersignature.ts";
import { writeAtomically } from "./durable-file.ts";

/** `manager-key.json` in the data directory, 0600: who this data directory's manager is, over restarts. */
const IdentityFile = z.strictObject({
  publicKey: PublicKey,
  seed: z.string().describe("secret half, base64url"),
  createdAt: z.iso.datetime(),
});

/** The manager's own key: it signs what it durably has, so that a later change of the files can be seen. */
export interface Identity {
  /** `ed25519:…`, in `GET /v1/health` and in every run.json */
  readonly publicKey: string;
  /** Signs `{context, run, epoch, at, hash}` with the present time. Call it after the fdatasync, never before. */
  countersign(statement: Omit<Countersigned, "time">): Countersignature;
  /** Signs bytes for another purpose; `context` is a fixed text. */
  sign: SigningKey["sign"];
}

/**
 * Reads the key, or makes it; the caller holds the lock of the directory. Throws `PlatformError` `identity_unusable` for a file that
 * is broken: a new key in its place would make every earlier countersignature look foreign.
 */
export async function openIdentity(dataDir: string): Promise<Identity> {
  const path = join(dataDir, "manager-key.json");
  const key = (await readKey(path)) ?? (await makeKey(path));
  return {
    publicKey: key.publicKey,
    sign: (context, bytes) => key.sign(context, bytes),
    countersign(statement) {
      const whole = { ...statement, time: new Date().toISOString() };
      const signature = key.sign(
        `countersignature/${statement.context}`,
        countersignedBytes(whole),
      );
      return { ...whole, key: key.publicKey, signature };
    },
  };
}

async function readKey(path: string): Promise<SigningKey | null> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null;
    throw unusable(path, errnoOf(error) ?? messageOf(error), error);
  }
  try {
    const file = parseJson("manager-key.json", IdentityFile, text);
    const key = readSigningKey(file.seed);
    if (key.publicKey !== file.publicKey) throw new Error("seed and publicKey do not belong");
    return key;
  } catch (error) {
    throw unusable(path, messageOf(error), error);
  }
}

async function makeKey(path: string): Promise<SigningKey> {
  const key = createSigningKey();
  const file = {
    publicKey: key.publicKey,
    seed: key.seed(),
    createdAt: new Date().toISOString(),
  } satisfies z.infer<typeof IdentityFile>;
  await writeAtomically(path, `${JSON.stringify(file)}\n`);
  return key;
}

function unusable(path: string, why: string, cause: unknown): PlatformError {
  return new PlatformError("identity_unusable", `Cannot use the manager's key "${path}": ${why}`, {
    path,
    fix: "bring the file back from a copy; or move it away, and earlier countersignatures can be checked with --manager-key only",
    cause,
  });
}
