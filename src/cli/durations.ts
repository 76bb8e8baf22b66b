import { bytesOf, Quantity } from "../protocol/quantities.ts";
import { UsageError } from "./output.ts";

const UNIT_MS: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/** The milliseconds of an option such as `--older-than 30d`. Unlike manifests, people also count in days and weeks. */
export function durationOption(option: string, text: string): number {
  let total = 0;
  const words = /^(?:[0-9]+(?:\.[0-9]+)?(?:ms|[smhdw]))+$/.test(text)
    ? text.matchAll(/([0-9.]+)(ms|[smhdw])/g)
    : null;
  if (words === null)
    throw new UsageError(
      `Option --${option} expected a duration, got "${text}"`,
      "write it as 90s, 30m, 12h, 30d or 2w",
    );
  for (const [, count, unit] of words) total += Number(count) * (UNIT_MS[unit ?? ""] ?? 0);
  return total;
}

/** The bytes of an option such as `--keep-bytes 5Gi`. */
export function bytesOption(option: string, text: string): number {
  const parsed = Quantity.safeParse(text);
  if (!parsed.success)
    throw new UsageError(
      `Option --${option} expected a size, got "${text}"`,
      "write it as 500M, 5Gi or a number of bytes",
    );
  return bytesOf(parsed.data);
}
