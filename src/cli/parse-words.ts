import { parseArgs } from "node:util";
import type { Command, CommandOptions, OptionValues } from "./command.ts";
import { commonOptions } from "./help.ts";
import { UsageError } from "./output.ts";
import { nearest } from "./suggest.ts";

/** What a verb's words mean. */
export interface ParsedWords {
  readonly values: OptionValues<CommandOptions>;
  readonly positionals: string[];
  readonly json: boolean;
  readonly help: boolean;
}

/** Parses the words after a verb. Throws `UsageError` with a suggestion for a word that the verb does not know. */
export function parseWords(command: Command, words: readonly string[]): ParsedWords {
  const options: CommandOptions = { ...command.options, ...commonOptions };
  const { tokens } = parseArgs({
    args: [...words],
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values: Record<string, string | boolean | string[]> = {};
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const option = options[token.name];
    if (option === undefined || !Object.hasOwn(options, token.name))
      throw unknownOption(command, token.rawName, Object.keys(options));
    if (option.type === "boolean") {
      if (token.value !== undefined)
        throw new UsageError(`Option --${token.name} takes no value`, helpOf(command));
      values[token.name] = true;
      continue;
    }
    if (token.value === undefined || (!token.inlineValue && token.value.startsWith("--")))
      throw new UsageError(
        `Option --${token.name} needs a value${option.value === undefined ? "" : ` (${option.value})`}`,
        helpOf(command),
      );
    const before = values[token.name];
    if (option.multiple === true)
      values[token.name] = [...(Array.isArray(before) ? before : []), token.value];
    else if (before === undefined) values[token.name] = token.value;
    else throw new UsageError(`Option --${token.name} is given twice`, helpOf(command));
  }
  const { json, help, ...own } = values;
  const parsed = {
    values: own as OptionValues<CommandOptions>,
    positionals,
    json: json === true,
    help: help === true,
  };
  if (!parsed.help) requireCount(command, positionals);
  return parsed;
}

function requireCount(command: Command, positionals: readonly string[]): void {
  const { min, max } = command.positionals ?? { min: 0, max: 0 };
  if (positionals.length < min)
    throw new UsageError(
      `Verb ${command.name} needs ${min === 1 ? "a word" : `${min} words`} more: ${command.usage[0] ?? command.name}`,
      helpOf(command),
    );
  if (positionals.length > max)
    throw new UsageError(
      `Unexpected word "${positionals[max] ?? ""}" after agentkube ${command.name}`,
      helpOf(command),
    );
}

function unknownOption(command: Command, raw: string, known: readonly string[]): UsageError {
  const near = nearest(raw.replace(/^-+/, ""), known);
  return new UsageError(
    `Unknown option ${raw} of agentkube ${command.name}`,
    near === undefined ? helpOf(command) : `did you mean --${near}? ${helpOf(command)}`,
  );
}

function helpOf(command: Command): string {
  return `see agentkube ${command.name} --help`;
}
