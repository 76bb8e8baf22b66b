import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { PlatformError, messageOf } from "../../kit/platform-error.ts";
import { MAX_PROMPT_BYTES } from "../../protocol/agentlet-link.ts";
import { managerOfLive, sayResult } from "../act-on-run.ts";
import { dataOption, defineCommand } from "../command.ts";
import { resolveDataDir } from "../data-dir.ts";

/** `agentkube prompt`: gives the CLI of a live run a prompt and says whether it arrived. */
export const command = defineCommand({
  name: "prompt",
  summary: "give the CLI of a run a prompt",
  usage: ["prompt RUN TEXT [--data DIR] [--json]", "prompt RUN --file FILE [--data DIR] [--json]"],
  description:
    "Taken only while the CLI is idle. Waits until another channel than the keyboard (a hook, an event, the screen) has shown that it was submitted.\n" +
    "Control characters are left out. Exit code 0 submitted, 1 typed but not confirmed, 3 refused. --json prints {phase, message}.",
  examples: [
    {
      command: 'agentkube prompt demo-7f3k2m9q "Now run the tests"',
      does: "sends the next prompt",
    },
    { command: "agentkube prompt demo-7f3k2m9q --file next.md", does: "sends a file's text" },
  ],
  options: {
    file: { type: "string", value: "FILE", help: "take the text from a file" },
    data: dataOption,
  },
  positionals: { min: 1, max: 2 },
  run: async ({ values, positionals: [run = "", words], output, env, cwd }) => {
    const text = values.file === undefined ? words : await textOf(resolve(cwd, values.file));
    if (text === undefined || (values.file !== undefined && words !== undefined))
      throw new PlatformError("usage", "Expected one text: as a word or with --file", {
        fix: 'agentkube prompt RUN "Now run the tests"',
      });
    if (Buffer.byteLength(text) > MAX_PROMPT_BYTES || text === "")
      throw new PlatformError(
        "usage",
        `Expected a prompt of 1 to ${MAX_PROMPT_BYTES} bytes, got ${Buffer.byteLength(text)}`,
        { fix: "put a long text into a file of the workspace and tell the CLI to read it" },
      );
    const manager = await managerOfLive(resolveDataDir(values.data, env, cwd), run);
    return sayResult(await manager.prompt(run, { text }), output);
  },
});

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new PlatformError("usage", `Cannot read "${path}": ${messageOf(error)}`, {
      cause: error,
    });
  }
}
