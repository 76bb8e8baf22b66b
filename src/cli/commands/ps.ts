import { dataOption, defineCommand } from "../command.ts";
import { resolveDataDir } from "../data-dir.ts";
import { humanSpan, humanTable, humanWhy, oneLine } from "../human.ts";
import type { Output } from "../output.ts";
import { listRuns, type KnownRun } from "../run-files.ts";

const RECENT_MS = 24 * 60 * 60 * 1000;
/** A restart of the manager is over sooner. */
const AWAY_MS = 5000;

/** `agentkube ps`: the runs of a data directory, live ones first. */
export const command = defineCommand({
  name: "ps",
  summary: "list runs",
  usage: ["ps [--all] [--data DIR] [--json]"],
  description: "Shows live runs and those that ended within 24 hours; --all shows every run.",
  examples: [
    { command: "agentkube ps", does: "live and recent runs" },
    {
      command: "agentkube ps --all --json",
      does: "every run, as {runs: [RunInfo…]} for a program",
    },
  ],
  options: {
    all: { type: "boolean", short: "a", help: "every run, however old" },
    data: dataOption,
  },
  run: async ({ values, output, env, cwd }) => {
    const dataDir = resolveDataDir(values.data, env, cwd);
    const { runs, unreadable } = await listRuns(dataDir);
    const shown = values.all === true ? runs : runs.filter(isRecent);
    shown.sort((left, right) => Number(right.live) - Number(left.live));
    if (output.json) {
      output.document({ runs: shown.map(({ info }) => info) });
      return 0;
    }
    for (const { run, problem } of unreadable) output.note(`Run ${run} left out: ${problem}`);
    if (shown.length > 0) table(shown, output);
    const older = runs.length - shown.length;
    if (older > 0)
      output.note(`${older} older ${older === 1 ? "run" : "runs"}: agentkube ps --all`);
    if (runs.length === 0) output.note(`No run in "${dataDir}"`);
    return 0;
  },
});

function table(runs: readonly KnownRun[], output: Output): void {
  const now = Date.now();
  const rows = runs.map((run) => {
    const { info } = run;
    const started = Date.parse(info.startedAt);
    const ended = info.endedAt === null ? now : Date.parse(info.endedAt);
    return [
      info.run,
      oneLine(info.agent),
      info.runtime,
      phaseOf(run, output),
      info.endedAt === null && !run.live ? "?" : humanSpan(ended - started),
      String(info.calls.length),
      `${humanSpan(now - started)} ago`,
    ];
  });
  const head = ["RUN", "AGENT", "RUNTIME", "STATUS", "TIME", "CALLS", "STARTED"];
  for (const line of humanTable(head, rows)) output.line(line);
}

/** What a person wants to know first: is it alive and what does it do, or how did it end. */
function phaseOf({ info, live }: KnownRun, output: Output): string {
  // What a CLI that we have no rules for does is not known; that it runs is.
  const state = info.phase === "running" && info.state !== "unknown" ? info.state : info.phase;
  // What it did last is not what it does: nobody has heard of it since.
  if (live && (info.agentletAwayMs ?? 0) > AWAY_MS && info.phase === "running")
    return output.paint("yellow", `${state}, unheard for ${humanSpan(info.agentletAwayMs ?? 0)}`);
  if (live) return output.paint("cyan", state);
  if (info.end === null) return output.paint("yellow", "interrupted");
  const { outcome, reason, exitCode, signal } = info.end;
  const code = signal ?? (exitCode === null || exitCode === 0 ? "" : String(exitCode));
  const why = humanWhy({ outcome, reason: code === "" ? reason : `${reason} ${code}` });
  const text = `${outcome}${why}`;
  return output.paint(outcome === "succeeded" ? "green" : "red", text);
}

function isRecent({ info, live }: KnownRun): boolean {
  return live || Date.now() - Date.parse(info.endedAt ?? info.startedAt) < RECENT_MS;
}
