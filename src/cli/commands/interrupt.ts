import { managerOfLive, sayResult } from "../act-on-run.ts";
import { dataOption, defineCommand } from "../command.ts";
import { resolveDataDir } from "../data-dir.ts";

/** `agentkube interrupt`: breaks off the turn of a live run's CLI. */
export const command = defineCommand({
  name: "interrupt",
  summary: "break off the turn of a run's CLI",
  usage: ["interrupt RUN [--data DIR] [--json]"],
  description:
    "Presses the CLI's own interrupt key and waits until it is seen idle. The run goes on; agentkube stop ends it.\n" +
    "Exit code 0 idle, 1 not confirmed, 3 refused. --json prints {phase, message}.",
  examples: [{ command: "agentkube interrupt demo-7f3k2m9q", does: "ends the turn, not the run" }],
  options: { data: dataOption },
  positionals: { min: 1, max: 1 },
  run: async ({ values, positionals: [run = ""], output, env, cwd }) => {
    const manager = await managerOfLive(resolveDataDir(values.data, env, cwd), run);
    return sayResult(await manager.interrupt(run), output);
  },
});
