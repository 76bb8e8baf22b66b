import type { Output } from "./output.ts";

/** One option of a verb: what `node:util` parseArgs needs, and what the help says about it. */
export interface CommandOption {
  readonly type: "string" | "boolean";
  readonly multiple?: boolean;
  readonly short?: string;
  /** one line for the help */
  readonly help: string;
  /** what stands for the value in the help, such as `DIR` */
  readonly value?: string;
}
export type CommandOptions = Readonly<Record<string, CommandOption>>;

/** The parsed values of a verb's options: an option that was not given is undefined, a repeatable one an array. */
export type OptionValues<O extends CommandOptions> = {
  readonly [K in keyof O]: O[K] extends { multiple: true }
    ? readonly string[] | undefined
    : O[K] extends { type: "boolean" }
      ? boolean | undefined
      : string | undefined;
};

/** What a verb is handed: parsed words, and the outside world, which only `main.ts` reads. */
export interface CommandContext<O extends CommandOptions> {
  readonly values: OptionValues<O>;
  readonly positionals: readonly string[];
  /** the words after the verb, as given */
  readonly args: readonly string[];
  readonly output: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly stdin: NodeJS.ReadStream;
  /** how to run this program again: node and its arguments up to the verb */
  readonly self: readonly string[];
  /** Calls back on SIGINT, SIGTERM or SIGHUP instead of dying; returns how to stop listening. */
  onSignal(listener: (signal: NodeJS.Signals) => void): () => void;
  /** Calls back when standard output cannot be written, instead of ending this process. */
  onOutputError(listener: (error: Error) => void): void;
}

/** A verb with its options erased, as the table holds it. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  /** lines after `agentkube `, such as `attach RUN [--write]` */
  readonly usage: readonly string[];
  readonly description?: string;
  /** whole command lines, each with what it does */
  readonly examples: readonly { readonly command: string; readonly does: string }[];
  readonly options: CommandOptions;
  /** how many words besides options; default none */
  readonly positionals?: { readonly min: number; readonly max: number };
  /** Returns the exit code; throws `PlatformError` for what a person must know. */
  run(context: CommandContext<CommandOptions>): Promise<number>;
}

/** Declares a verb, so that its `run` sees the options with their types. */
export function defineCommand<const O extends CommandOptions>(
  command: Omit<Command, "options" | "run"> & {
    readonly options: O;
    run(context: CommandContext<O>): Promise<number>;
  },
): Command {
  return {
    ...command,
    run: (context) => command.run(context as unknown as CommandContext<O>),
  };
}

/** `--data DIR`, for every verb that looks into a data directory. */
export const dataOption = {
  type: "string",
  value: "DIR",
  help: "data directory (default $AGENTKUBE_DATA, $XDG_STATE_HOME/agentkube, ~/.local/state/agentkube)",
} as const satisfies CommandOption;
