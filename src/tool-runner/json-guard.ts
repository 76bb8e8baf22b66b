import { PlatformError } from "../kit/platform-error.ts";

const MAX_DEPTH = 64;
const MAX_VALUES = 100_000;

/**
 * Refuses JSON values that programs read differently from one another: keys that reach prototypes, lone surrogates, NUL,
 * integers that lost digits, and trees too deep or too large. Throws `PlatformError` `arguments_invalid`.
 */
export function guardJson(value: unknown): void {
  const pending: { value: unknown; depth: number }[] = [{ value, depth: 0 }];
  let seen = 0;
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    seen += 1;
    if (seen > MAX_VALUES) throw refuse(`Expected at most ${MAX_VALUES} values, got more`);
    if (next.depth > MAX_DEPTH)
      throw refuse(`Expected nesting of at most ${MAX_DEPTH} levels, got more`);
    if (typeof next.value === "string") guardText(next.value);
    else if (typeof next.value === "number") guardNumber(next.value);
    else if (typeof next.value === "object" && next.value !== null) {
      for (const [key, child] of Object.entries(next.value)) {
        guardText(key);
        if (key === "__proto__") throw refuse('Expected no key "__proto__", got one');
        pending.push({ value: child, depth: next.depth + 1 });
      }
    }
  }
}

function guardText(text: string): void {
  if (text.includes("\0")) throw refuse("Expected text without NUL characters, got one");
  if (!text.isWellFormed()) throw refuse("Expected valid Unicode text, got a lone surrogate");
}

function guardNumber(number: number): void {
  if (Number.isInteger(number) && !Number.isSafeInteger(number))
    throw refuse("Expected integers between -2^53 and 2^53, got one beyond; pass it as a string");
  if (!Number.isFinite(number)) throw refuse("Expected finite numbers, got one that is not");
}

function refuse(message: string): PlatformError {
  return new PlatformError("arguments_invalid", message);
}
