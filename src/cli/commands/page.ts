import { PlatformError } from "../../kit/platform-error.ts";
import { findManager } from "../client.ts";
import { dataOption, defineCommand } from "../command.ts";
import { dataWords, resolveDataDir } from "../data-dir.ts";
import { findRun } from "../run-files.ts";

/** `agentkube page`: the link that opens the page, for whoever asks for it. */
export const command = defineCommand({
  name: "page",
  summary: "print the link that opens the page",
  usage: ["page [RUN] [--data DIR]"],
  description:
    "The link has the operator token in it: whoever has it can type into every live run of the data directory.\n" +
    "So it is printed when asked for; run shows it to a person at a terminal, and to no program or log.",
  examples: [
    { command: "agentkube page", does: "the list of runs" },
    { command: "agentkube page triage-bot-7f3k2m9q", does: "one run" },
  ],
  options: { data: dataOption },
  positionals: { min: 0, max: 1 },
  run: async ({ values, positionals, output, env, cwd }) => {
    const [run] = positionals;
    const dataDir = resolveDataDir(values.data, env, cwd);
    if (run !== undefined) await findRun(dataDir, run);
    const manager = await findManager(dataDir);
    if (manager === null)
      throw new PlatformError("manager_away", `No manager serves the page of "${dataDir}"`, {
        fix: `start one: agentkube manager${dataWords(dataDir, env, cwd)}`,
      });
    const page = manager.linkOf(run ?? null);
    if (output.json) output.document({ page });
    else output.line(page);
    return 0;
  },
});
