import { openContainerZone } from "../kit/container-zone.ts";
import { openSandbox, type Sandbox } from "../kit/sandbox.ts";
import { writeContainerFiles } from "./container-files.ts";
import type { RunContext } from "./run-life.ts";
import { GATEWAY_PORT, zonePlan, type ZoneParts } from "./zone.ts";

const NO_STDIO = { stdin: "ignore", stdout: "ignore", stderr: "ignore" } as const;

/** Opens zone A: a sandbox on a laptop; in a pod this container, fenced from us as far as its kernel can. */
export async function openZone(
  { spec, pod, notice, log }: RunContext,
  parts: ZoneParts,
  signal: AbortSignal,
): Promise<Sandbox> {
  if (spec.zone.kind === "sandbox")
    return await openSandbox(zonePlan(spec, parts), NO_STDIO, signal);
  writeContainerFiles(spec, parts);
  const { processes } = spec.zone;
  const plan = { hidden: pod?.hidden ?? [], listen: GATEWAY_PORT, processes };
  const { zone, weakness } = await openContainerZone(plan, signal);
  log.info({ fenced: weakness === null }, "zone A is this container");
  if (weakness !== null) notice(weakness);
  return zone;
}
