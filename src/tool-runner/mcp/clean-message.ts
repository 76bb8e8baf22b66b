import { type RedactionTable, redactWhole } from "../../kit/redactor.ts";

/** A JSON value without secrets, and how many were masked in it. */
export interface Cleaned {
  value: unknown;
  masked: number;
}

/**
 * Masks secrets in every text, key and number of a JSON value. The value is looked at as it was parsed: an escape such as `\u0073`
 * cannot hide a letter. The value's shape is kept, but for a number that is a secret, which becomes text.
 */
export function cleanMessage(table: RedactionTable | null, value: unknown): Cleaned {
  if (table === null) return { value, masked: 0 };
  let masked = 0;
  const cleanText = (text: string): string => {
    const cleaned = redactWhole(table, Buffer.from(text));
    if (cleaned.masked === 0) return text;
    masked += cleaned.masked;
    return cleaned.bytes.toString("utf8");
  };
  const clean = (part: unknown): unknown => {
    if (typeof part === "string") return cleanText(part);
    if (typeof part === "number") {
      const text = cleanText(String(part));
      return text === String(part) ? part : text;
    }
    if (Array.isArray(part)) return part.map(clean);
    if (typeof part !== "object" || part === null) return part;
    return Object.fromEntries(
      Object.entries(part).map(([key, child]) => [cleanText(key), clean(child)]),
    );
  };
  return { value: clean(value), masked };
}
