import { readFile } from "node:fs/promises";
import timers from "node:timers/promises";
import type * as z from "zod";
import { Backoff } from "../kit/backoff.ts";
import { parseJson, READ_ONCE } from "../kit/json-lines.ts";
import type { Log } from "../kit/log.ts";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import { BootAnswers, type BootRequest, type PodRole } from "./pod-boot.ts";
import type { RunSpec } from "./run-spec.ts";
import { PROTOCOL } from "./version.ts";

const REQUEST_MS = 10_000;
/** A manager that is being replaced comes back within this; a pod that cannot start says why and ends. */
const START_LIMIT_MS = 120_000;
const MAX_ANSWER_BYTES = 64 * 1024;

export type BootOf<R extends PodRole> = z.infer<(typeof BootAnswers)[R]>;

/** What the manager gave, and how far our clock is ahead of its; null when it does not say. */
export interface PodStart<R extends PodRole> {
  readonly boot: BootOf<R>;
  readonly clockAheadMs: number | null;
}

/**
 * Asks the manager for this container's tokens, until it gives them or two minutes have passed. The file is read for each try: Kubernetes
 * renews it. Throws `boot_refused` (the manager does not know this token or run) or `boot_failed`.
 */
export async function fetchBoot<R extends PodRole>(
  request: Omit<BootRequest, "protocol" | "role"> & { role: R },
  options: { spec: RunSpec; tokenFile: string; log: Log },
): Promise<PodStart<R>> {
  const deadline = performance.now() + START_LIMIT_MS;
  const backoff = new Backoff({ minMs: 200, maxMs: 5000 });
  for (;;) {
    try {
      return await askOnce(request, options);
    } catch (error) {
      // A refusal too: the run may be registered a moment after its pod was made.
      if (performance.now() > deadline) throw error;
      options.log.warn({ err: messageOf(error) }, "manager does not give the boot yet");
      await backoff.wait(AbortSignal.timeout(REQUEST_MS)).catch(() => timers.setTimeout(0));
    }
  }
}

async function askOnce<R extends PodRole>(
  request: Omit<BootRequest, "protocol" | "role"> & { role: R },
  { spec, tokenFile }: { spec: RunSpec; tokenFile: string },
): Promise<PodStart<R>> {
  const token = await readToken(tokenFile);
  const url = new URL(`/v1/runs/${spec.run}/boot`, spec.manager.url);
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({ protocol: PROTOCOL, ...request } satisfies BootRequest),
      redirect: "error",
      signal: AbortSignal.timeout(REQUEST_MS),
    });
    text = (await response.text()).slice(0, MAX_ANSWER_BYTES);
  } catch (error) {
    throw unreachable(url.origin, error);
  }
  if (response.status === 401 || response.status === 404 || response.status === 409)
    throw new PlatformError(
      "boot_refused",
      `Manager at ${url.origin} refuses the ${request.role} of run "${spec.run}" (${response.status})`,
      { fix: "register the run with the manager before its pod is made, with this token's hash" },
    );
  if (!response.ok)
    throw new PlatformError("boot_failed", `Manager answered ${response.status}`, {
      retryable: true,
    });
  // The schema of the role, which the type of a mapped access does not follow.
  const schema = BootAnswers[request.role] as unknown as z.ZodType<BootOf<R>>;
  return {
    boot: parseJson("a boot document", schema, text, READ_ONCE),
    clockAheadMs: clockAhead(response.headers.get("date")),
  };
}

/** `fetch` says only that it failed; its cause says why. */
function unreachable(origin: string, error: unknown): PlatformError {
  const inner = error instanceof Error ? error.cause : undefined;
  const code = errnoOf(inner) ?? errnoOf(error);
  const isClock = code === "CERT_NOT_YET_VALID" || code === "CERT_HAS_EXPIRED";
  const isTls = isClock || (code !== undefined && /CERT|SIGNATURE|TLS|SSL/.test(code));
  let fix = "look whether the manager runs, and whether the NetworkPolicy lets this pod reach it";
  if (isTls) fix = "give the manager a certificate that this image's Node trusts";
  if (isClock) fix = `look at the clock of this node: it says ${new Date().toISOString()}`;
  return new PlatformError(
    "boot_failed",
    `Cannot reach the manager at ${origin}${code === undefined ? "" : ` (${code})`}`,
    { fix, retryable: true, cause: error },
  );
}

function clockAhead(date: string | null): number | null {
  const theirs = Date.parse(date ?? "");
  return Number.isNaN(theirs) ? null : Date.now() - theirs;
}

async function readToken(file: string): Promise<string> {
  try {
    const token = (await readFile(file, "utf8")).trim();
    if (/^[\x21-\x7e]{16,16384}$/.test(token)) return token;
    throw new PlatformError("boot_failed", `Expected a token in "${file}", found none`, {
      path: file,
    });
  } catch (error) {
    if (error instanceof PlatformError) throw error;
    throw new PlatformError(
      "boot_failed",
      `Cannot read the token "${file}": ${errnoOf(error) ?? messageOf(error)}`,
      { path: file, fix: "mount the projected token there", cause: error },
    );
  }
}
