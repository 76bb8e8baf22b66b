import { writeFileSync } from "node:fs";
import type { Log } from "../kit/log.ts";
import { errnoOf } from "../kit/platform-error.ts";
import type { RunEnd } from "../protocol/outcome.ts";

/** Where Kubernetes looks for a container's last words; it keeps 4096 bytes. */
const FILE = "/dev/termination-log";
const MAX_BYTES = 4000;

/** Says how the run ended where `kubectl describe pod` shows it. No value of a secret is in an end. */
export function writeTerminationMessage(end: RunEnd, log: Log): void {
  const { outcome, reason, exitCode, signal, detail } = end;
  const lines = [
    `${outcome}: ${reason}${exitCode === null ? "" : ` (code ${exitCode})`}${signal === null ? "" : ` (${signal})`}`,
    ...(detail === undefined ? [] : [detail.cause]),
    ...(detail?.path === undefined ? [] : [`path: ${detail.path}`]),
    ...(detail?.fix === undefined ? [] : [`fix: ${detail.fix}`]),
  ];
  try {
    writeFileSync(FILE, Buffer.from(`${lines.join("\n")}\n`).subarray(0, MAX_BYTES));
  } catch (error) {
    log.debug({ code: errnoOf(error) }, "no termination message can be written");
  }
}
