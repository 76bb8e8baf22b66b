import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { ExplainedState } from "../../agentlet/explain.ts";
import { PlatformError, messageOf } from "../../kit/platform-error.ts";
import { Runtime } from "../../protocol/runtimes.ts";
import { ExitCode } from "../../protocol/outcome.ts";
import { defineCommand } from "../command.ts";
import { humanTable, oneLine } from "../human.ts";
import type { Output } from "../output.ts";
import { knownRuntimes } from "../../protocol/runtimes.ts";

/** `agentkube agentlet`: the entry point of the agent's container, and `explain`, which shows what its rules see. */
export const command = defineCommand({
  name: "agentlet",
  summary: "the program that owns the agent's terminal; explain shows what its rules see",
  usage: ["agentlet", "agentlet explain FILE --runtime R [--json]"],
  description:
    "Without a word: reads the run spec that AGENTKUBE_RUN_SPEC names, and tokens from the first line of standard input. Started by a supervisor.\n" +
    "explain: which state a recording (.cast) or the text of one screen shows, since when, and which rule said so. --json prints {states: [{atMs, state, channel, rule}]}.\n" +
    "Exit code 1 when the file is damaged or neither a recording nor a screen.",
  examples: [
    { command: "AGENTKUBE_RUN_SPEC=spec.json agentkube agentlet", does: "runs one agent CLI" },
    {
      command: "agentkube agentlet explain session.cast --runtime ClaudeCode",
      does: "shows the states of a recording",
    },
  ],
  options: {
    runtime: {
      type: "string",
      value: "R",
      help: "whose screens these are: ClaudeCode, Codex, OpenCode, …",
    },
  },
  positionals: { min: 0, max: 2 },
  run: async (context) => {
    const [word, file, ...rest] = context.positionals;
    if (word === undefined) {
      // What reads our status may die before us; then there is still a run to end in order.
      context.onOutputError(() => undefined);
      return await (await import("../../agentlet/main.ts")).main();
    }
    if (word !== "explain" || file === undefined || rest.length > 0)
      throw new PlatformError(
        "usage",
        `Expected agentkube agentlet explain FILE, got "${context.positionals.join(" ")}"`,
        { fix: "agentkube agentlet explain session.cast --runtime ClaudeCode" },
      );
    const runtime = runtimeNamed(context.values.runtime);
    const path = resolve(context.cwd, file);
    await requireFile(path);
    const { explain } = await import("../../agentlet/explain.ts");
    const { driverOf } = await import("../../agentlet/drivers/registry.ts");
    const { states, problems } = await explain(path, driverOf(runtime).rules);
    for (const problem of problems.slice(0, MAX_PROBLEMS)) context.output.note(problem);
    if (problems.length > MAX_PROBLEMS)
      context.output.note(`… and ${problems.length - MAX_PROBLEMS} more lines that are not read`);
    if (context.output.json) context.output.document({ states });
    else show(states, context.output);
    // A recording that is cut off is one of a run that lives or was killed; all of it that is there was read.
    return problems.every((problem) => problem.endsWith("cut off"))
      ? ExitCode.done
      : ExitCode.failed;
  },
});

const MAX_PROBLEMS = 10;

/** A runtime by its name or its program's, in any case. Throws `PlatformError` `usage` with the names. */
function runtimeNamed(name: string | undefined): Runtime {
  const wanted = name?.toLowerCase();
  for (const runtime of Runtime.options) {
    const program = runtime === "Custom" ? null : knownRuntimes[runtime].program;
    if (wanted === runtime.toLowerCase() || (wanted !== undefined && wanted === program))
      return runtime;
  }
  throw new PlatformError(
    "usage",
    name === undefined
      ? "Expected --runtime: whose screens these are"
      : `Expected a runtime after --runtime, got "${name}"`,
    { fix: `use one of ${Runtime.options.join(", ")}` },
  );
}

async function requireFile(path: string): Promise<void> {
  try {
    if ((await stat(path)).isFile()) return;
  } catch (error) {
    throw new PlatformError("usage", `Cannot read "${path}": ${messageOf(error)}`, {
      fix: "give a .cast file or the text of one screen",
      cause: error,
    });
  }
  throw new PlatformError("usage", `Expected a file, got "${path}"`, {
    fix: "give a .cast file or the text of one screen",
  });
}

function show(states: readonly ExplainedState[], output: Output): void {
  const rows = states.map(({ atMs, state, channel, rule }) => [
    `${(atMs / 1000).toFixed(3)} s`,
    state,
    channel,
    oneLine(rule),
  ]);
  for (const line of humanTable(["AT", "STATE", "SEEN BY", "RULE"], rows)) output.line(line);
}
