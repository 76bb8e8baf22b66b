import { join } from "node:path";
import { Writable } from "node:stream";
import { PlatformError } from "../../kit/platform-error.ts";
import { ExitCode } from "../../protocol/outcome.ts";
import type { ShellInfo } from "../../protocol/manager-api.ts";
import { findManager, type ManagerClient } from "../client.ts";
import { dataOption, defineCommand } from "../command.ts";
import { resolveDataDir } from "../data-dir.ts";
import type { TerminalOutput } from "../output.ts";
import { pourRecording } from "../plain-output.ts";
import { findRun, rereadRun } from "../run-files.ts";
import { keptShells } from "../shell-files.ts";
import { viewTerminal } from "../viewer.ts";

/** `agentkube shell`: a second terminal in the agent's zone, recorded as a session of its own. */
export const command = defineCommand({
  name: "shell",
  summary: "open a shell beside the agent, in its zone",
  usage: ["shell RUN [--data DIR] [--json] [-- WORD…]"],
  description:
    "A second terminal in zone A: what the agent sees and may do, you see and may do, and no more. It has a grant of its own, and its\n" +
    "recording is kept beside the run's. It ends with the run, when you leave it (Ctrl-] d), or by itself.\n" +
    "With a program after -- no terminal is needed: then stdin is not read, and its output goes to stdout (as a terminal has it, with\n" +
    "\\r\\n). --json prints the shell, with its exit code and its recording, on a line of its own after that. Exit code: with a program its own, 126 or 127 when it cannot be started, 128+n for a signal; else 0.",
  examples: [
    { command: "agentkube shell triage-bot-7f3k2m9q", does: "looks around where the agent works" },
    {
      command: "agentkube shell triage-bot-7f3k2m9q -- git log --oneline",
      does: "runs one program there",
    },
    {
      command: "agentkube shell triage-bot-7f3k2m9q --list --json",
      does: "prints the shells that the run has had",
    },
  ],
  options: {
    list: { type: "boolean", help: "list the run's shells instead of opening one" },
    data: dataOption,
  },
  positionals: { min: 1, max: 257 },
  run: async (context) => {
    const { values, positionals, output, env, cwd, stdin } = context;
    const [run = "", ...argv] = positionals;
    const dataDir = resolveDataDir(values.data, env, cwd);
    const known = await findRun(dataDir, run);
    const manager = await findManager(dataDir);
    if (values.list === true) {
      const shells = manager === null ? await keptShells(known.dir) : await manager.shells(run);
      if (output.json) output.document({ shells });
      else for (const shell of shells) output.line(lineOf(shell));
      return ExitCode.done;
    }
    if (!known.live || manager === null)
      throw new PlatformError("not_live", `Cannot open a shell in run "${run}": it has ended`, {
        fix: `agentkube shell ${run} --list lists the shells it had`,
      });
    const isSeated = output.interactive && stdin.isTTY;
    if (!isSeated && argv.length === 0)
      throw new PlatformError("usage", "An interactive shell needs a terminal", {
        fix: "start it in a terminal, or give a program: agentkube shell RUN -- ls",
      });
    const shell = await open(manager, run, argv, output.stdout);
    if (isSeated) output.note("Ctrl-] d leaves the shell and closes it; it is recorded");
    const leaving = new AbortController();
    const stopListening = context.onSignal(() => leaving.abort());
    let hasLeft = false;
    try {
      const poured = isSeated
        ? Promise.resolve()
        : pourRecording(
            join(known.dir, "shells", `${shell.grant_id}.cast`),
            output.stdout,
            async () =>
              (await manager.shell(run, shell.grant_id).catch(() => null))?.endedAt === null,
            leaving.signal,
          );
      poured.catch(() => leaving.abort("output lost"));
      const result = await viewTerminal(
        {
          run,
          shell: shell.grant_id,
          write: true,
          stdin: isSeated ? stdin : null,
          // Without a terminal the output is poured from the record: every byte of it, and nothing that repaints a screen.
          stdout: isSeated ? output.stdout : nowhere(),
          from: null,
          findManager: async () => {
            const found = await findManager(dataDir);
            if (found === null && !(await rereadRun(known)).live) leaving.abort("ended");
            return found;
          },
          onStop: () => leaving.abort(),
        },
        leaving.signal,
      );
      if (result.kind === "closed")
        throw new PlatformError(
          "window_closed",
          `Shell ${shell.grant_id} is not shown here any more: ${result.reason}`,
          { fix: `agentkube shell ${run} --list says how it goes on` },
        );
      // Left, not ended: nobody shall find it open.
      hasLeft =
        result.kind === "detached" || (leaving.signal.aborted && leaving.signal.reason !== "ended");
      if (hasLeft) await manager.closeShell(run, shell.grant_id).catch(() => undefined);
      const { reason, exitCode, recording } = await manager.shell(run, shell.grant_id);
      // Refused by the agentlet, it has no recording that could be poured.
      if (!isSeated && !hasLeft && exitCode === null && recording === null)
        throw new PlatformError(
          "shell_refused",
          `Cannot open a shell: ${reason ?? "no reason given"}`,
          {
            fix: `see agentkube logs ${run}, and try again`,
          },
        );
      await poured;
    } finally {
      stopListening();
    }
    const end = await manager.shell(run, shell.grant_id).catch(() => shell);
    // What a program's exit code says needs no words beside its output.
    if (isSeated || end.reason?.startsWith("exited with code ") !== true)
      output.note(`shell ${shell.grant_id} ${end.reason ?? "closed"}`);
    if (output.json) output.documentAfterOutput(end);
    if (argv.length === 0) return ExitCode.done;
    if (hasLeft) return isSeated ? ExitCode.done : ExitCode.cancelled;
    return end.exitCode ?? ExitCode.failed;
  },
});

function nowhere(): TerminalOutput {
  return new Writable({ write: (_bytes, _encoding, done) => done() });
}

async function open(
  manager: ManagerClient,
  run: string,
  argv: string[],
  { columns = 80, rows = 24 }: { columns?: number; rows?: number },
): Promise<ShellInfo> {
  const clamp = (cells: number): number => Math.min(1000, Math.max(1, cells));
  return await manager.openShell(run, {
    cols: clamp(columns),
    rows: clamp(rows),
    argv: argv.length === 0 ? null : argv,
  });
}

function lineOf(shell: ShellInfo): string {
  const state = shell.endedAt === null ? "open" : (shell.reason ?? "ended");
  return `${shell.grant_id}  ${shell.openedAt}  ${shell.argv?.join(" ") ?? "interactive"}  ${state}`;
}
