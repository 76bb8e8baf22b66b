import type * as z from "zod";
import { collectOnce } from "../kit/collect-once.ts";
import type { Log } from "../kit/log.ts";
import { type BootHandlers, readBoot } from "./boot.ts";
import type { PodRole } from "./pod-boot.ts";
import type { BootOf } from "./pod-start.ts";
import type { RunSpec } from "./run-spec.ts";

/** The file with this container's own token, in a pod; undefined where a supervisor started this program. */
export function podTokenFile(env: NodeJS.ProcessEnv): string | undefined {
  const file = env["AGENTKUBE_TOKEN_FILE"];
  return file === undefined || file === "" ? undefined : file;
}

/** How a program is started, and what it is told of the manager's clock: how far ours is ahead, null when it does not say. */
export interface ProgramStart {
  readonly spec: RunSpec;
  readonly tokenFile: string | undefined;
  readonly log: Log;
  readonly onClock?: (aheadMs: number | null) => void;
}

/** How one of a run's three programs comes to its boot document. */
export interface ProgramBoot<R extends PodRole, B> {
  readonly role: R;
  readonly schema: z.ZodType<B>;
  /** what the supervisor says after it; in a pod nobody does */
  readonly handlers: BootHandlers;
  /** in a pod: the volume that keeps the key which the program signs with; null when it signs nothing */
  readonly keyDir: string | null;
  /** in a pod: what Kubernetes put into the container, beside the tokens that the manager gives */
  ownParts(): Omit<B, keyof BootOf<R> | "signingSeed">;
}

/**
 * The boot document of this program: from the supervisor on standard input, or, where a pod gave it a `tokenFile`, from the manager.
 * Rejects with `boot_missing`, or in a pod with `boot_refused` or `boot_failed`.
 */
export async function bootProgram<R extends PodRole, B>(
  program: ProgramBoot<R, B>,
  { spec, tokenFile, log, onClock }: ProgramStart,
): Promise<B> {
  const { role, schema, handlers, keyDir } = program;
  collectOnce();
  if (tokenFile === undefined) return await readBoot(schema, handlers, process.stdin);
  // Loaded in pods only: elsewhere a start need not wait for it.
  const { keptSigningKey } = await import("../kit/kept-key.ts");
  const { fetchBoot } = await import("./pod-start.ts");
  const key = keyDir === null ? null : keptSigningKey(keyDir);
  const own = program.ownParts();
  const request = { role, ...(key === null ? {} : { key: key.publicKey }) };
  const { boot, clockAheadMs } = await fetchBoot(request, { spec, tokenFile, log });
  onClock?.(clockAheadMs);
  return schema.parse({ ...boot, ...own, ...(key === null ? {} : { signingSeed: key.seed() }) });
}
