import { cp, readdir } from "node:fs/promises";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { errnoOf, errorFacts, messageOf, PlatformError } from "../../kit/platform-error.ts";
import { sayLastWords } from "../../protocol/last-words.ts";
import { defineCommand } from "../command.ts";

/** `agentkube install`: hidden, run by an init container to put this folder where the agent's container finds it. */
export const command = defineCommand({
  name: "install",
  summary: "copy this installation into an empty directory",
  usage: ["install DIR"],
  description: "For an init container: the agent's container mounts DIR at /opt/agentkube-bin.",
  examples: [
    { command: "agentkube install /install", does: "copies Node, our code and its parts" },
  ],
  options: {},
  positionals: { min: 1, max: 1 },
  run: async ({ positionals: [dir = ""], cwd, output }) => {
    const target = resolve(cwd, dir);
    const from = fileURLToPath(new URL("../../../", import.meta.url));
    try {
      // What an init container that was started again finds of its predecessor is written over.
      for (const name of await readdir(from))
        await cp(`${from}/${name}`, `${target}/${name}`, {
          recursive: true,
          verbatimSymlinks: true,
          // By their times and sizes the copy knows that its programs are built from its sources.
          preserveTimestamps: true,
          force: true,
        });
    } catch (error) {
      const failure = new PlatformError(
        "install_failed",
        `Cannot copy agentkube to "${target}": ${errnoOf(error) ?? messageOf(error)}`,
        {
          path: target,
          fix: "mount a volume there with room for 150 MB that this user can write to",
          cause: error,
        },
      );
      sayLastWords(errorFacts(failure));
      throw failure;
    }
    if (output.json) output.document({ installed: target });
    else output.line(`Installed in ${target}`);
    return 0;
  },
});
