import { join } from "node:path";
import { dataOption, defineCommand } from "../command.ts";
import { resolveDataDir } from "../data-dir.ts";
import { auditLine, eventLine } from "../event-lines.ts";
import { followLines } from "../follow-file.ts";
import { findManager } from "../client.ts";
import { paintedOnly, shownJson } from "../human.ts";
import { findRun, rereadRun, type KnownRun } from "../run-files.ts";
import { pour } from "../pour.ts";

/** `agentkube logs`: the events of a run as they were kept, or its audit. */
export const command = defineCommand({
  name: "logs",
  summary: "show the events of a run",
  usage: ["logs RUN [-f] [--audit] [--json] [--data DIR]"],
  description:
    "Events are states with what showed them, heartbeats, notices and the end. --audit shows tool calls and requests instead.\n" +
    "With --json each line is one event as it was kept: {seq, type, time, …}. -f goes on until the run has ended.",
  examples: [
    { command: "agentkube logs demo-7f3k2m9q -f", does: "follows a live run to its end" },
    {
      command: "agentkube logs demo-7f3k2m9q --audit --json",
      does: "calls and requests, a JSON document a line",
    },
  ],
  options: {
    follow: { type: "boolean", short: "f", help: "go on until the run has ended" },
    audit: { type: "boolean", help: "tool calls and boundary requests, not events" },
    data: dataOption,
  },
  positionals: { min: 1, max: 1 },
  run: async (context) => {
    const { values, output, env, cwd } = context;
    const [run = ""] = context.positionals;
    const dataDir = resolveDataDir(values.data, env, cwd);
    const known = await findRun(dataDir, run);
    const audit = values.audit === true;
    const path = join(known.dir, audit ? "audit.jsonl" : "events.jsonl");
    const stop = new AbortController();
    const stopSignals = values.follow === true ? context.onSignal(() => stop.abort()) : () => {};
    // The files are followed, not the manager: they outlive its restarts, and hold only what is durable.
    const goesOn = values.follow === true ? async () => await mayGrow(known, dataDir) : null;
    const show = audit ? auditLine : eventLine;
    const asKept = (line: string): string =>
      output.stdout.isTTY === true ? shownJson(line) : line;
    let shown = 0;
    async function* lines(): AsyncGenerator<string> {
      for await (const line of followLines(path, goesOn, stop.signal)) {
        shown += 1;
        const text = output.json ? asKept(line) : paintedOnly(show(line, output) ?? line);
        yield `${text}\n`;
      }
    }
    try {
      await pour(lines(), output.stdout, { atOnce: true });
    } finally {
      stopSignals();
    }
    if (shown === 0 && !output.json)
      output.note(`Run ${run} has no ${audit ? "audit records" : "events"} yet`);
    return 0;
  },
});

/** A run whose supervisor is dead still gets its end from a manager. */
async function mayGrow(known: KnownRun, dataDir: string): Promise<boolean> {
  const { info, supervised } = await rereadRun(known);
  if (info.phase === "ended") return false;
  return supervised || (await findManager(dataDir)) !== null;
}
