import { PlatformError } from "../../kit/platform-error.ts";
import { findManager } from "../client.ts";
import { dataOption, defineCommand } from "../command.ts";
import { resolveDataDir } from "../data-dir.ts";

/** `agentkube metrics`: what the running manager and its runs count. */
export const command = defineCommand({
  name: "metrics",
  summary: "show what the manager and its tool-runners count",
  usage: ["metrics [--data DIR] [--json]"],
  description:
    "Runs, tool calls and their outcomes, sandboxes kept ready, what was refused. Prometheus reads the same from GET /metrics of the manager, with the operator token as Bearer.",
  examples: [
    { command: "agentkube metrics", does: "all of them, in Prometheus' text format" },
    {
      command: "agentkube metrics --json",
      does: "the same as {metrics: [{name, type, help, samples}]} for a program",
    },
  ],
  options: { data: dataOption },
  run: async ({ values, output, env, cwd }) => {
    const dataDir = resolveDataDir(values.data, env, cwd);
    const manager = await findManager(dataDir);
    if (manager === null)
      throw new PlatformError("manager_away", `No manager runs for "${dataDir}"`, {
        fix: "start one with agentkube run or agentkube manager; it counts while it runs",
      });
    if (output.json) output.document({ metrics: await manager.metrics() });
    else output.line((await manager.metricsText()).trimEnd());
    return 0;
  },
});
