import { PlatformError } from "../kit/platform-error.ts";
import type { SchemaCheck } from "./argument-schema.ts";
import { guardJson } from "./json-guard.ts";

/** A word of a command: text as written, and arguments by name. */
export type Piece = { literal: string } | { name: string };

/** What the arguments of an operation are checked against and rendered into. */
export interface ArgumentPlan {
  check: SchemaCheck;
  known: readonly string[];
  words: readonly (readonly Piece[])[];
  allowDash: ReadonlySet<string>;
  stdin: "none" | "json";
}

export interface AdmittedArguments {
  argv: string[];
  stdin: Buffer | null;
  /** The arguments as one text that does not depend on the order of keys, for the audit's digest. */
  canonical: string;
  /** the very object that was checked */
  value: Record<string, unknown>;
}

// The kernel takes no longer word (MAX_ARG_STRLEN).
const MAX_WORD_BYTES = 128 * 1024 - 1;
// Argv and environment travel in one message to the sandbox (192 KiB); the environment has the rest of it.
const MAX_ARGV_BYTES = 144 * 1024;

/** Splits a word of a command into text and `{{name}}`. Throws an `Error` that says what is wrong with the template. */
export function parseWord(word: string): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  for (const match of word.matchAll(/\{\{([^{}]*)\}\}/g)) {
    if (match.index > at) pieces.push({ literal: word.slice(at, match.index) });
    const name = (match[1] ?? "").trim();
    if (name === "") throw new Error("a template names no argument: {{}}");
    pieces.push({ name });
    at = match.index + match[0].length;
  }
  if (at < word.length || pieces.length === 0) pieces.push({ literal: word.slice(at) });
  for (const piece of pieces) {
    if ("literal" in piece && (piece.literal.includes("{{") || piece.literal.includes("}}")))
      throw new Error("{{ and }} do not match");
  }
  return pieces;
}

/**
 * Checks arguments and renders the argv. The checked object is the one that is rendered. Throws `PlatformError`
 * `arguments_invalid` with words for whoever chose them; never a value.
 */
export function admitArguments(plan: ArgumentPlan, value: unknown): AdmittedArguments {
  guardJson(value);
  const problems = plan.check(value);
  if (problems.length > 0) {
    throw new PlatformError("arguments_invalid", `Arguments do not fit: ${problems.join("; ")}`, {
      fix:
        plan.known.length === 0
          ? "call it without arguments"
          : `known arguments: ${plan.known.join(", ")}`,
    });
  }
  const given = value as Record<string, unknown>;
  const argv = plan.words.flatMap((word) => renderWord(word, given, plan.allowDash));
  const bytes = argv.reduce((sum, word) => sum + Buffer.byteLength(word) + 1, 0);
  if (bytes > MAX_ARGV_BYTES) {
    throw new PlatformError(
      "arguments_invalid",
      `Expected a command line of at most ${MAX_ARGV_BYTES} bytes, got ${bytes}`,
    );
  }
  return {
    argv,
    stdin: plan.stdin === "json" ? Buffer.from(JSON.stringify(value)) : null,
    canonical: argumentsText(value),
    value: value as Record<string, unknown>,
  };
}

/** One word, or none when it has a template and its argument was not given: an optional option leaves no trace. */
function renderWord(
  word: readonly Piece[],
  given: Record<string, unknown>,
  allowDash: ReadonlySet<string>,
): string[] {
  let text = "";
  for (const piece of word) {
    if ("literal" in piece) {
      text += piece.literal;
      continue;
    }
    if (!Object.hasOwn(given, piece.name)) return [];
    const value = given[piece.name];
    const rendered = typeof value === "string" ? value : JSON.stringify(value);
    // Only a value that starts the word could be taken for an option.
    if (text === "" && rendered.startsWith("-") && !allowDash.has(piece.name)) {
      throw new PlatformError(
        "arguments_invalid",
        `Argument "${piece.name}" may not begin with "-", since the tool would read it as an option`,
        { fix: `name "${piece.name}" under allowDash of the operation if that is wanted` },
      );
    }
    text += rendered;
  }
  if (Buffer.byteLength(text) > MAX_WORD_BYTES) {
    throw new PlatformError(
      "arguments_invalid",
      `Expected each argument to be at most ${MAX_WORD_BYTES} bytes, got ${Buffer.byteLength(text)}`,
    );
  }
  return [text];
}

/** Arguments as one text that does not depend on the order of keys: what the audit's digest of them is made of. */
export function argumentsText(value: unknown): string {
  return JSON.stringify(value, sortedKeys);
}

function sortedKeys(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
