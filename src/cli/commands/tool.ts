import { defineCommand } from "../command.ts";
import { UsageError } from "../output.ts";
import { nearest } from "../suggest.ts";
import { toolOptions, type ToolAction } from "../tool/action.ts";
import { call } from "../tool/call-verb.ts";
import { check } from "../tool/check-verb.ts";
import { create } from "../tool/new-verb.ts";
import { list } from "../tool/list-verb.ts";
import { pack } from "../tool/pack-verb.ts";
import { receipt } from "../tool/receipt-verb.ts";

const actions: Readonly<Record<string, ToolAction>> = {
  new: create,
  check,
  call,
  pack,
  ls: list,
  receipt,
};

/** `agentkube tool`: tools without an agent. */
export const command = defineCommand({
  name: "tool",
  summary: "make, check, call and pack tools",
  usage: [
    "tool new NAME --lang sh|node|python|mcp [--json]",
    "tool check DIR|FILE [--tool NAME] [--json]",
    "tool call DIR|FILE OPERATION [--args JSON] [--secret NAME/KEY=FROM] [--workspace DIR] [--files-to DIR] [--explain] [--json]",
    "tool pack DIR|FILE [--output FILE] [--tool NAME] [--json]",
    "tool ls [DIR|FILE] [--json]",
    "tool receipt ls|verify [RUN|FILE] [--json]",
    "tool receipt show RUN|FILE CALL [--args JSON] [--json]",
  ],
  description:
    "A call runs in the same sandbox and behind the same boundary as in a run. DIR holds a tool.yaml, or other YAML files.\n" +
    "Receipts are what the tool-runner signed of each call of a run; verify finds every gap and edit and exits with 1.\n" +
    "Exit codes of call: 0 the tool completed with 0, 1 it failed, 2 invalid manifest or words, 3 refused.",
  examples: [
    {
      command: "agentkube tool new ./github-issues --lang node",
      does: "makes a tool that works, with a test",
    },
    {
      command: "agentkube tool check ./github-issues",
      does: "says everything that keeps the tool from running",
    },
    {
      command: `agentkube tool call ./github-issues list --args '{"label":"bug"}' --secret github-token/token=@token.txt`,
      does: "runs one operation and shows its output",
    },
    {
      command: "agentkube tool pack ./github-issues -o github-issues.tar",
      does: "writes the tool as one OCI archive, which tool call, skopeo and podman take",
    },
    {
      command: "agentkube tool ls ./tools.yaml",
      does: "lists operations under the names that agents see",
    },
    {
      command: "agentkube tool receipt verify demo-7f3k2m9q",
      does: "checks chain, signatures and countersignatures of a run's audit",
    },
  ],
  options: toolOptions,
  positionals: { min: 1, max: 4 },
  run: async (context) => {
    const [name = "", ...words] = context.positionals;
    const action = Object.hasOwn(actions, name) ? actions[name] : undefined;
    if (action === undefined) throw unknownAction(name);
    const { min, max, expected } = action.words;
    if (words.length < min) throw new UsageError(`agentkube tool ${name} needs ${expected}`);
    if (words.length > max)
      throw new UsageError(`Unexpected word "${words[max] ?? ""}" after agentkube tool ${name}`);
    return await action.run(context, words);
  },
});

function unknownAction(action: string): UsageError {
  const known = Object.keys(actions);
  const near = nearest(action, known);
  return new UsageError(
    `Unknown verb "tool ${action}"`,
    near === undefined ? `use one of ${known.join(", ")}` : `did you mean tool ${near}?`,
  );
}
