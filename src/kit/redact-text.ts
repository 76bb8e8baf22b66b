import type { RedactionSet } from "./redaction-set.ts";
import { TerminalRedactor } from "./terminal-redactor.ts";

/** Masks what is secret in a text that is whole, such as a label, a title or a screen. */
export function redactText(set: RedactionSet, text: string): string {
  const redactor = new TerminalRedactor(set, { cols: Infinity });
  const bytes = Buffer.from(text);
  const masked = Buffer.concat([redactor.push(bytes), redactor.end()]);
  return redactor.maskedBytes === 0 ? text : masked.toString("utf8");
}
