// A data directory as a manager leaves it, for tests of the verbs that read it, and the real command line.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { RunInfo, ShellInfo } from "../../src/protocol/manager-api.ts";
import { BatchBuffer } from "../../src/kit/batch-buffer.ts";
import { AsciicastWriter } from "../../src/protocol/asciicast-writer.ts";
import { makeRemovable } from "../helpers/lab.ts";

const entry = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

export interface CliEnd {
  code: number | null;
  stdout: string;
  bytes: Buffer;
  stderr: string;
}

/** What the terminal of every prepared run gave: colours, wide characters, and bytes that are not UTF-8. */
export const TERMINAL_BYTES = Buffer.concat([
  Buffer.from("\u001B[31mred\u001B[0m 日本\r\n"),
  Buffer.from([0x62, 0x61, 0x64, 0xff, 0xfe, 0x0d, 0x0a]),
  Buffer.from("done\r\n"),
]);

export class PreparedData implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), "akverbs-"));
  readonly data = join(this.root, "data");

  constructor() {
    mkdirSync(join(this.data, "runs"), { recursive: true, mode: 0o700 });
  }

  /** Adds an ended, verified run; `change` makes it another one. Returns its directory. */
  addRun(run: string, change: Partial<RunInfo> = {}, cast = recording()): string {
    const dir = join(this.data, "runs", run);
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, "recording.cast"), cast);
    const info = { ...endedRun(run, join(dir, "recording.cast"), cast), ...change };
    const hash = "0".repeat(64);
    writeFileSync(
      join(dir, "run.json"),
      JSON.stringify({
        info,
        tokenHashes: { agentlet: hash, recorder: hash, runner: hash },
        runtimeDir: "/tmp/agentkube-gone00",
        spoolDir: join(this.data, "spool", run),
        supervisorStart: null,
        epochs: { agentlet: 0, recorder: 0, runner: 0 },
        stopAskedBy: null,
      }),
    );
    return dir;
  }

  /** Adds a shell that a run had, ended and verified; `change` makes it another one. Returns its recording's path. */
  addShell(run: string, grant: string, change: Partial<ShellInfo> = {}): string {
    const dir = join(this.data, "runs", run, "shells");
    mkdirSync(dir, { recursive: true });
    const path = join(dir, `${grant}.cast`);
    const cast = recording();
    writeFileSync(path, cast);
    const sha256 = createHash("sha256").update(cast).digest("hex");
    const info: ShellInfo = {
      run,
      grant_id: grant,
      session: `${run}.${grant}`,
      by: "operator",
      argv: null,
      terminal: { cols: 80, rows: 24 },
      openedAt: hoursAgo(1.5),
      endedAt: hoursAgo(1),
      reason: "exited with code 0",
      exitCode: 0,
      recording: { bytes: cast.length, sha256, verified: true },
      committedBytes: cast.length,
      ...change,
    };
    writeFileSync(join(dir, `${grant}.json`), JSON.stringify(info));
    return path;
  }

  write(name: string, content: string | Buffer): string {
    const path = join(this.root, name);
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  /** Runs `agentkube WORDS`. */
  async run(...words: string[]): Promise<CliEnd> {
    const child = spawn(process.execPath, [entry, ...words], {
      cwd: this.root,
      env: { PATH: process.env["PATH"], HOME: this.root, AGENTKUBE_DATA: this.data },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 30_000,
    });
    const stdout: Buffer[] = [];
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString("utf8")));
    const { promise, resolve } = Promise.withResolvers<number | null>();
    child.once("close", resolve);
    const code = await promise;
    const bytes = Buffer.concat(stdout);
    return { code, bytes, stdout: bytes.toString("utf8"), stderr };
  }

  [Symbol.dispose](): void {
    makeRemovable(this.root);
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** The last line of a verb's standard output, as a document. */
export function lastDocument(end: CliEnd): Record<string, unknown> {
  return JSON.parse(end.stdout.trimEnd().split("\n").at(-1) ?? "") as Record<string, unknown>;
}

/** A whole recording of `TERMINAL_BYTES`. */
export function recording(): Buffer {
  const lines = new BatchBuffer();
  const writer = new AsciicastWriter(lines);
  const facts = {
    cols: 80,
    rows: 24,
    timestamp: 1_795_000_000,
    title: "demo",
    term: "xterm-256color",
  };
  writer.header(facts);
  writer.output(TERMINAL_BYTES, 10_000);
  writer.marker("tool demo call", 20_000);
  writer.exit(0, 100_000);
  writer.position({ seq: 3, fact: 3, masked: 0, end: true });
  return lines.bytes;
}

export function hoursAgo(hours: number): string {
  return new Date(Date.now() - hours * 3_600_000).toISOString();
}

function endedRun(run: string, path: string, cast: Buffer): RunInfo {
  return {
    run,
    agent: "demo",
    runtime: "Custom",
    mode: "system",
    phase: "ended",
    state: "exited",
    startedAt: hoursAgo(2),
    endedAt: hoursAgo(1),
    terminal: { cols: 80, rows: 24 },
    interactive: false,
    supervisorPid: 2 ** 22 + 1,
    end: { outcome: "succeeded", reason: "exited", exitCode: 0, signal: null },
    recording: {
      path,
      bytes: cast.length,
      sha256: createHash("sha256").update(cast).digest("hex"),
      verified: true,
    },
    committedBytes: cast.length,
    calls: [],
  };
}
