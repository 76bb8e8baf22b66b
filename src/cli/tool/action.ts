import { dataOption, type CommandContext } from "../command.ts";

/** The options of `agentkube tool`, for all of its verbs. */
export const toolOptions = {
  tool: { type: "string", value: "NAME", help: "which Tool, when the files hold several" },
  args: {
    type: "string",
    value: "JSON",
    help: "call: the arguments, one JSON object (default {}); receipt show: arguments to compare",
  },
  secret: {
    type: "string",
    multiple: true,
    value: "NAME/KEY=FROM",
    help: "call: a credential's value, from @FILE, env:VAR or exec:COMMAND",
  },
  workspace: {
    type: "string",
    value: "DIR",
    help: "call: the tool's workspace, if it has one (default: the current directory)",
  },
  "files-to": {
    type: "string",
    value: "DIR",
    help: "call: write the files that the operation gives into DIR",
  },
  output: {
    type: "string",
    short: "o",
    value: "FILE",
    help: "pack: the archive (default NAME.tar)",
  },
  "runner-key": {
    type: "string",
    value: "KEY",
    help: "receipt: the public key registered for the run, from elsewhere",
  },
  "manager-key": {
    type: "string",
    value: "KEY",
    help: "receipt: the manager's public key, from elsewhere",
  },
  lang: { type: "string", value: "LANG", help: "new: sh, node, python or mcp" },
  explain: {
    type: "boolean",
    help: "call: run nothing; print mounts, environment, limits, network and credentials",
  },
  data: dataOption,
} as const;

export type ToolContext = CommandContext<typeof toolOptions>;

/** One verb of `agentkube tool`; `words` are those after it. Returns the exit code. */
export interface ToolAction {
  readonly words: { readonly min: number; readonly max: number; readonly expected: string };
  run(context: ToolContext, words: readonly string[]): Promise<number>;
}
