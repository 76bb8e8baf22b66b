import type { RedactionSet } from "./redaction-set.ts";
import { TerminalRedactor } from "./terminal-redactor.ts";

/** Masks what is secret in a text that is whole, such as a label, a title or a screen. */
export function redactText(set: RedactionSet, text: string): string {
  const bytes = Buffer.from(text);
  const redactor = new TerminalRedactor(set, { cols: Infinity, roomBytes: bytes.length });
  const masked = Buffer.concat([redactor.push(bytes), redactor.end()]);
  return redactor.maskedBytes === 0 ? text : masked.toString("utf8");
}

/** The same value with every text in it masked; keys are left alone. For events and other plain documents. */
export function redactTexts<T>(set: RedactionSet, value: T): T {
  return walk(set, value) as T;
}

function walk(set: RedactionSet, value: unknown): unknown {
  if (typeof value === "string") return redactText(set, value);
  if (Array.isArray(value)) return value.map((item) => walk(set, item));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, walk(set, item)]));
}
