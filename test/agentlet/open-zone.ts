import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSandbox } from "../../src/kit/sandbox.ts";
import type { Sandbox } from "../../src/kit/sandbox.ts";
import { PtySession } from "../../src/agentlet/pty-session.ts";
import type { PtySessionOptions } from "../../src/agentlet/pty-session.ts";

/** A real zone with the host's /usr and an empty workspace, for programs on real terminals. */
export interface TestZone extends AsyncDisposable {
  sandbox: Sandbox;
  /** writable inside, at the same path */
  workspace: string;
}

export async function openTestZone(): Promise<TestZone> {
  const workspace = await mkdtemp(join(tmpdir(), "agentlet-zone-"));
  const sandbox = await openSandbox(
    {
      init: "zone-init",
      initArgs: ["--listen", "4180"],
      argv: [],
      hostname: "zone",
      network: "own",
      nestedUserNamespaces: true,
      readOnlyProc: false,
      root: { kind: "system" },
      tmpfs: [
        { path: "/home/agent", bytes: 16 * 1024 * 1024 },
        { path: "/tmp", bytes: 16 * 1024 * 1024 },
      ],
      binds: [
        { source: workspace, target: workspace, mode: "rw" },
        { source: process.execPath, target: "/opt/agentkube/node", mode: "ro" },
      ],
      files: [],
      cwd: workspace,
      env: {},
      processes: 128,
      seccomp: "zone",
    },
    { stdin: "ignore", stdout: "ignore", stderr: "ignore" },
    new AbortController().signal,
  );
  return {
    sandbox,
    workspace,
    [Symbol.asyncDispose]: async () => {
      await sandbox[Symbol.asyncDispose]();
      await rm(workspace, { recursive: true, force: true });
    },
  };
}

export interface TestProgram {
  pty: PtySession;
  /** all output so far */
  output: () => Buffer;
  refused: number[];
  /** waits until the output has the text; rejects after 5 s with what there is */
  shows: (text: string | RegExp) => Promise<void>;
}

/** Starts a program on a terminal of the zone. */
export async function startOnTerminal(
  zone: TestZone,
  argv: string[],
  options: Partial<PtySessionOptions> & { paused?: boolean } = {},
): Promise<TestProgram> {
  const size = { cols: 80, rows: 24 };
  const program = await zone.sandbox.start({
    argv,
    cwd: zone.workspace,
    env: { PATH: "/usr/bin:/bin", HOME: "/home/agent", TERM: "xterm-256color", PS1: "$ " },
    ...size,
  });
  const chunks: Buffer[] = [];
  const refused: number[] = [];
  let onMore: (() => void) | undefined;
  const pty = new PtySession({
    program,
    size,
    onOutput: (bytes) => {
      chunks.push(Buffer.from(bytes));
      onMore?.();
    },
    onRefusedInput: (bytes) => refused.push(bytes),
    ...options,
  });
  if (options.paused === true) pty.pause();
  const output = () => Buffer.concat(chunks);
  return {
    pty,
    output,
    refused,
    shows: async (text) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const look = () => {
        const now = output().toString("utf8");
        if (typeof text === "string" ? now.includes(text) : text.test(now)) resolve();
      };
      const late = setTimeout(
        () =>
          reject(
            new Error(
              `Expected ${String(text)} on the terminal, got ${JSON.stringify(output().toString("utf8").slice(-2000))}`,
            ),
          ),
        5000,
      );
      onMore = look;
      look();
      await promise.finally(() => clearTimeout(late));
    },
  };
}
