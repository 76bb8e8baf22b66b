import * as z from "zod";
import { MAX_TIMER_MS } from "../kit/max-timer.ts";

const SUFFIX: Record<string, number> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
  Ti: 1024 ** 4,
};
const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A Kubernetes quantity of bytes, such as `512Mi`. Written as in the manifest; `bytesOf` gives the number. */
export const Quantity = z
  .union([
    z
      .string()
      .regex(/^[0-9]{1,15}(?:k|M|G|T|Ki|Mi|Gi|Ti)?$/, "expected a quantity of bytes such as 512Mi"),
    z.int().positive(),
  ])
  .describe("quantity of `bytes`, such as 512Mi");
export type Quantity = z.infer<typeof Quantity>;

/** A quantity of at least `floor`; less cannot work, and is mostly a number without its unit. */
export function quantityFrom(floor: string): typeof Quantity {
  return Quantity.refine((quantity) => bytesOf(quantity) >= bytesOf(floor), {
    error: ({ input }) =>
      `expected at least ${floor}${/^[0-9]{1,4}$/.test(String(input)) ? `; a number without a unit is bytes, did you mean ${String(input)}${Number(input) < 64 ? "Gi" : "Mi"}?` : ""}`,
  });
}

/** A duration such as `60s`, `30m`, `1h30m`, of 596 h at most. `millisecondsOf` gives the number. */
export const Duration = z
  .string()
  .regex(
    /^(?=.)(?:[0-9]{1,9}h)?(?:[0-9]{1,9}m(?!s))?(?:[0-9]{1,9}s)?(?:[0-9]{1,9}ms)?$/,
    "expected a duration such as 60s, 30m or 1h30m",
  )
  .refine(
    (duration) => millisecondsOf(duration) <= MAX_TIMER_MS,
    "expected a duration of at most 596h",
  )
  .describe("duration, such as 30m");
export type Duration = z.infer<typeof Duration>;

/** The number of bytes of a parsed `Quantity`. */
export function bytesOf(quantity: Quantity): number {
  if (typeof quantity === "number") return quantity;
  const match = /^([0-9]+)([A-Za-z]*)$/.exec(quantity);
  const factor = SUFFIX[match?.[2] ?? "?"];
  if (match === null || factor === undefined)
    throw new RangeError(`Not a quantity of bytes: "${quantity}"`);
  return Number(match[1]) * factor;
}

/** The milliseconds of a parsed `Duration`. */
export function millisecondsOf(duration: string): number {
  let total = 0;
  for (const [, number, unit] of duration.matchAll(/([0-9]+)(ms|s|m|h)/g))
    total += Number(number) * (UNIT_MS[unit ?? ""] ?? Number.NaN);
  if (!Number.isFinite(total)) throw new RangeError(`Not a duration: "${duration}"`);
  return total;
}
