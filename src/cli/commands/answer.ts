import { PlatformError } from "../../kit/platform-error.ts";
import { AgentletEvent, type Ask, type Choice } from "../../protocol/agentlet-link.ts";
import { ExitCode } from "../../protocol/outcome.ts";
import { managerOfLive, sayResult } from "../act-on-run.ts";
import { dataOption, defineCommand } from "../command.ts";
import { resolveDataDir } from "../data-dir.ts";
import { oneLine } from "../human.ts";
import type { Output } from "../output.ts";

/** `agentkube answer`: shows what the CLI of a live run asks, or answers it. */
export const command = defineCommand({
  name: "answer",
  summary: "show and answer what the CLI of a run asks",
  usage: ["answer RUN [allow|deny|OPTION] [--ask N] [--data DIR] [--json]"],
  description:
    "Without an answer it shows what is asked. allow says yes for this once, deny says no, and an option is named by its key.\n" +
    "--ask N answers only that ask, so that nothing else is answered by mistake. Exit code 0 answered, 1 not confirmed, 3 refused. --json prints {ask} or {phase, message}.",
  examples: [
    { command: "agentkube answer demo-7f3k2m9q", does: "shows what is asked" },
    { command: "agentkube answer demo-7f3k2m9q allow --ask 3", does: "says yes to ask 3" },
    { command: "agentkube answer demo-7f3k2m9q 2", does: "chooses option 2" },
  ],
  options: {
    ask: { type: "string", value: "N", help: "only if this is what is asked" },
    data: dataOption,
  },
  positionals: { min: 1, max: 2 },
  run: async ({ values, positionals: [run = "", word], output, env, cwd }) => {
    const ask = values.ask === undefined ? null : numberOf(values.ask);
    if (word === undefined && ask !== null)
      throw new PlatformError("usage", "Option --ask needs an answer: allow, deny or an option", {
        fix: "leave --ask out to see what is asked",
      });
    const manager = await managerOfLive(resolveDataDir(values.data, env, cwd), run);
    if (word === undefined) return show(askOf(await manager.events(run)), output);
    return sayResult(await manager.answer(run, { ask, choice: choiceOf(word) }), output);
  },
});

function numberOf(text: string): number {
  if (/^[1-9][0-9]{0,8}$/.test(text)) return Number(text);
  throw new PlatformError("usage", `Expected a number after --ask, got "${text}"`, {
    fix: "agentkube answer RUN shows the ask and its number",
  });
}

function choiceOf(word: string): Choice {
  if (word === "allow" || word === "deny") return { kind: word };
  if (word !== "" && word.length <= 64) return { kind: "option", key: word };
  throw new PlatformError("usage", "Expected allow, deny or the key of an option");
}

/** What the last state asks; null when it asks nothing. */
function askOf(events: readonly unknown[]): Ask | null {
  for (const value of events.toReversed()) {
    const { seq: _, ...rest } = value as Record<string, unknown>;
    const event = AgentletEvent.safeParse(rest).data;
    if (event?.type === "state") return event.ask ?? null;
  }
  return null;
}

function show(ask: Ask | null, output: Output): number {
  if (output.json) output.document({ ask });
  else if (ask === null) output.line("Nothing is asked");
  else {
    const tool = ask.tool === null ? "" : ` for ${oneLine(ask.tool)}`;
    output.line(`Ask ${ask.id}, ${ask.kind}${tool}: ${oneLine(ask.text)}`);
    for (const line of ask.detail.split("\n").filter((each) => each !== ""))
      output.line(`    ${oneLine(line)}`);
    for (const { key, label } of ask.options) output.line(`  ${oneLine(key)}  ${oneLine(label)}`);
  }
  return ExitCode.done;
}
