import { hintsOf } from "../protocol/last-words.ts";
import type { RunEnd } from "../protocol/outcome.ts";

/** How a run ended, for the termination message of its container. No value of a secret is in an end. */
export function linesOfEnd({ outcome, reason, exitCode, signal, detail }: RunEnd): string[] {
  return [
    `${outcome}: ${reason}${exitCode === null ? "" : ` (code ${exitCode})`}${signal === null ? "" : ` (${signal})`}`,
    ...(detail === undefined ? [] : [detail.cause, ...hintsOf(detail)]),
  ];
}
