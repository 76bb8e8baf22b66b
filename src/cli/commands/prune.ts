import { createInterface } from "node:readline/promises";
import { join } from "node:path";
import { ExitCode } from "../../protocol/outcome.ts";
import { dataOption, defineCommand, type CommandContext } from "../command.ts";
import { resolveDataDir } from "../data-dir.ts";
import { bytesOption, durationOption } from "../durations.ts";
import { humanBytes, humanSpan, humanTable, oneLine } from "../human.ts";
import type { Output } from "../output.ts";
import { planPrune, reasonToKeep, sizeOf, type PrunePlan } from "../prune-plan.ts";
import { removeTree, sweepTrash } from "../remove-tree.ts";
import { listRuns } from "../run-files.ts";
import { whileUnpinned } from "../../tool-runner/store-pin.ts";

const options = {
  "older-than": {
    type: "string",
    value: "DURATION",
    help: "runs that ended so long ago, such as 30d",
  },
  "larger-than": { type: "string", value: "SIZE", help: "runs that take at least so much room" },
  "keep-bytes": {
    type: "string",
    value: "SIZE",
    help: "the oldest runs, until the rest takes at most so much room, such as 5Gi",
  },
  yes: { type: "boolean", short: "y", help: "do not ask" },
  data: dataOption,
} as const;

/** `agentkube prune`: the only thing that ever removes a run. */
export const command = defineCommand({
  name: "prune",
  summary: "remove old runs by age or size",
  usage: ["prune [--older-than 30d] [--larger-than SIZE] [--keep-bytes SIZE] [--yes] [--json]"],
  description:
    "Lists what would go, with sizes, and asks; without a terminal it needs --yes. Without an age or size: every ended run.\n" +
    "Live runs and runs whose recording is not verified are never removed. Tool packages go too when no run is live.\n" +
    "With --json: {remove, keep, packages, totalBytes, freedBytes, removed}; exit code 2 when --yes was missing.",
  examples: [
    {
      command: "agentkube prune --older-than 30d",
      does: "lists runs that ended 30 days ago, asks, removes",
    },
    { command: "agentkube prune --keep-bytes 5Gi --yes", does: "the oldest, until 5 GiB are left" },
  ],
  options,
  run: async (context) => {
    const { values, output, env, cwd } = context;
    const size = (name: "larger-than" | "keep-bytes"): number | null =>
      values[name] === undefined ? null : bytesOption(name, values[name]);
    const age = values["older-than"];
    const wish = {
      olderThanMs: age === undefined ? null : durationOption("older-than", age),
      largerThanBytes: size("larger-than"),
      keepBytes: size("keep-bytes"),
    };
    const dataDir = resolveDataDir(values.data, env, cwd);
    const plan = await planPrune(dataDir, await listRuns(dataDir), wish);
    if (!output.json) show(plan, dataDir, output);
    const isEmpty = plan.remove.length === 0 && plan.packages.length === 0;
    const agreed = isEmpty || values.yes === true || (await ask(context));
    const freedBytes = agreed ? await removeAll(plan, dataDir, output) : 0;
    if (agreed) await sweepTrash(dataDir);
    if (output.json) output.document({ ...plan, freedBytes, removed: agreed && !isEmpty });
    else if (agreed && !isEmpty) output.line(`Removed; ${humanBytes(freedBytes)} are free again`);
    else if (!agreed) output.note("Nothing was removed");
    if (agreed) return ExitCode.done;
    return isTerminal(context) ? ExitCode.failed : ExitCode.usage;
  },
});

type Context = CommandContext<typeof options>;

function show(plan: PrunePlan, dataDir: string, output: Output): void {
  for (const { name, why } of plan.keep) output.note(`Run ${name} stays: ${oneLine(why)}`);
  const rows = [
    ...plan.remove.map(({ name, bytes, endedAt }) => [
      name,
      humanBytes(bytes),
      endedAt === null ? "" : `ended ${humanSpan(Date.now() - Date.parse(endedAt))} ago`,
    ]),
    ...plan.packages.map(({ name, bytes }) => [
      `${name.slice(0, 19)}…`,
      humanBytes(bytes),
      "tool package, used by no live run",
    ]),
  ];
  if (rows.length === 0) {
    output.line(`Nothing to remove in "${dataDir}" (${humanBytes(plan.totalBytes)})`);
    return;
  }
  for (const line of humanTable(["TO REMOVE", "SIZE", ""], rows)) output.line(line);
  const bytes = [...plan.remove, ...plan.packages].reduce((sum, item) => sum + item.bytes, 0);
  output.line(`${humanBytes(bytes)} of ${humanBytes(plan.totalBytes)} in "${dataDir}"`);
}

async function ask(context: Context): Promise<boolean> {
  const { stdin, output } = context;
  if (!isTerminal(context)) {
    output.note("Standard input is no terminal to ask on: give --yes to remove what is listed");
    return false;
  }
  const questions = createInterface({ input: stdin, output: output.stderr });
  try {
    const answer = await questions.question("Remove them? [y/N] ");
    return /^y(?:es)?$/i.test(answer.trim());
  } finally {
    questions.close();
  }
}

function isTerminal({ stdin, output }: Context): boolean {
  return stdin.isTTY && !output.json;
}

/** Runs may have changed while the person was thinking, so each is looked at again. */
async function removeAll(plan: PrunePlan, dataDir: string, output: Output): Promise<number> {
  const { runs } = await listRuns(dataDir);
  let freed = 0;
  for (const { name, dir } of plan.remove) {
    const now = runs.find(({ info }) => info.run === name);
    if (now === undefined) continue;
    const why = reasonToKeep(now);
    if (why !== null) {
      output.note(`Run ${name} stays: ${oneLine(why)}`);
      continue;
    }
    freed += await sizeOf(dir);
    await removeTree(dataDir, dir);
    // Verified or never recorded: what a recorder left of it is a copy.
    await removeTree(dataDir, join(dataDir, "spool", name));
  }
  if (plan.packages.length === 0 || runs.some(({ info }) => info.phase !== "ended")) return freed;
  // A run that is about to begin, or a tool call, has pinned the store before it looks for its packages.
  const removed = await whileUnpinned(
    join(dataDir, "store"),
    async () => {
      for (const { dir, bytes } of plan.packages) {
        await removeTree(dataDir, dir);
        freed += bytes;
      }
    },
    new AbortController().signal,
  );
  if (!removed) output.note("Tool packages stay: a run or a tool call uses the store");
  return freed;
}
