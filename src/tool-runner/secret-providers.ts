import { readSecretFile, runSecretCommand } from "../kit/secret-sources.ts";
import type { SecretSource } from "../protocol/secret-source.ts";

/** Where one secret comes from. Other stores (Vault, a cloud's secret manager) are one more of these. */
export interface SecretProvider {
  readonly from: "value" | "file" | "exec";
  /**
   * The whole value as it is now. Rejects with `SecretSourceError`, whose text never holds a value, when there is none: a
   * provider that fails, hangs or answers by halves has no value, whatever it said before.
   */
  resolve(signal: AbortSignal): Promise<Buffer>;
  /** How often to look whether it is still there while a request that carries it is open, in `ms`; null: it cannot go away. */
  readonly watchMs: number | null;
}

const FILE_WATCH_MS = 500;
/** A command may be slow and may be counted by whom it asks. */
const EXEC_WATCH_MS = 30_000;

export function openProvider(source: SecretSource | null, value: Buffer): SecretProvider {
  if (source === null)
    return { from: "value", watchMs: null, resolve: () => Promise.resolve(Buffer.from(value)) };
  if (source.from === "file")
    return {
      from: "file",
      watchMs: FILE_WATCH_MS,
      resolve: async () => await Promise.resolve(readSecretFile(source.path)),
    };
  return {
    from: "exec",
    watchMs: EXEC_WATCH_MS,
    resolve: async (signal) => await runSecretCommand(source, signal),
  };
}
