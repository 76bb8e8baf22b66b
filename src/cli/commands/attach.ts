import { PlatformError } from "../../kit/platform-error.ts";
import { ExitCode } from "../../protocol/outcome.ts";
import { findManager } from "../client.ts";
import { dataOption, defineCommand } from "../command.ts";
import { resolveDataDir } from "../data-dir.ts";
import { humanWhy } from "../human.ts";
import { findRun, rereadRun } from "../run-files.ts";
import { waitForEnding } from "../run-ending.ts";
import { KEYS, viewTerminal } from "../viewer.ts";

const ENDING_LIMIT_MS = 10_000;

/** `agentkube attach`: the live terminal of a run, read-only unless asked. */
export const command = defineCommand({
  name: "attach",
  summary: "show the live terminal of a run",
  usage: ["attach RUN [--write] [--data DIR] [--json]"],
  description:
    `Read-only unless --write is given; then what is typed goes to the program, and the terminal takes the size of this one.\n` +
    `${KEYS}, Ctrl-] Ctrl-] is one Ctrl-] for the program. Read-only, q and Ctrl-C detach as well.\n` +
    "--json prints {run, detached, end} after the terminal; end is null while the run goes on.",
  examples: [
    { command: "agentkube attach triage-bot-7f3k2m9q", does: "watches a run" },
    {
      command: "agentkube attach triage-bot-7f3k2m9q --write",
      does: "answers its questions; Ctrl-] d leaves it running",
    },
  ],
  options: {
    write: { type: "boolean", help: "let what is typed here go to the program" },
    data: dataOption,
  },
  positionals: { min: 1, max: 1 },
  run: async (context) => {
    const { values, positionals, output, env, cwd, stdin } = context;
    const [run = ""] = positionals;
    const dataDir = resolveDataDir(values.data, env, cwd);
    const known = await findRun(dataDir, run);
    if (!known.live)
      throw new PlatformError("not_live", `Cannot attach to run "${run}": it has ended`, {
        fix: `agentkube recording play ${run} replays it`,
      });
    const write = values.write === true;
    if (write && !output.interactive)
      throw new PlatformError("usage", "Option --write needs a terminal", {
        fix: "leave --write out, or start it in a terminal",
      });
    output.note(write ? KEYS : `read-only; q or Ctrl-] d detaches, Ctrl-] k stops the run`);
    const leaving = new AbortController();
    const stopListening = context.onSignal(() => leaving.abort());
    try {
      const result = await viewTerminal(
        {
          run,
          write,
          stdin,
          stdout: output.stdout,
          from: null,
          findManager: async () => {
            const manager = await findManager(dataDir);
            // Without a manager and without a supervisor nobody will ever answer.
            if (manager === null && !(await rereadRun(known)).live) leaving.abort("ended");
            return manager;
          },
          onStop: () =>
            void findManager(dataDir)
              .then((manager) => manager?.stop(run))
              .catch(() => {}),
        },
        leaving.signal,
      );
      if (result.kind === "closed")
        throw new PlatformError(
          "window_closed",
          `The terminal of run "${run}" is not shown here any more: ${result.reason}`,
          { fix: "the run goes on; close another viewer, or attach again later", retryable: true },
        );
      const hasLeft = leaving.signal.aborted && leaving.signal.reason !== "ended";
      if (result.kind === "detached" || hasLeft) {
        output.note(`detached; run ${run} goes on`);
        if (output.json) output.documentAfterOutput({ run, detached: true, end: null });
        return ExitCode.done;
      }
      // The terminal closes a moment before the recording is verified and the end is written down.
      const info = await waitForEnding(known, ENDING_LIMIT_MS, leaving.signal).catch(
        async () => (await rereadRun(known)).info,
      );
      output.note(
        `run ${run} ended${info.end === null ? "" : `: ${info.end.outcome}${humanWhy(info.end)}`}`,
      );
      if (output.json) output.documentAfterOutput({ run, detached: false, end: info.end });
      return ExitCode.done;
    } finally {
      stopListening();
    }
  },
});
