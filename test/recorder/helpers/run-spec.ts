import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { WhenFull } from "../../../src/protocol/agent-manifest.ts";
import type { RecorderBoot } from "../../../src/protocol/run-spec.ts";
import { RunSpec } from "../../../src/protocol/run-spec.ts";

export interface TestRun extends AsyncDisposable {
  spec: RunSpec;
  boot: RecorderBoot;
  /** where the recorder keeps its file */
  spoolPath: string;
  dir: string;
}

/** A run spec for a recorder of its own, in a temporary directory that goes with it. */
export async function aRun(
  options: {
    managerUrl?: string;
    recordInput?: boolean;
    whenFull?: WhenFull;
    spoolQuotaBytes?: number;
    /** the directory of all spools; made beside the rest unless given */
    spools?: string;
  } = {},
): Promise<TestRun> {
  const dir = await mkdtemp(join(tmpdir(), "recorder-test-"));
  const spools = options.spools ?? join(dir, "spool");
  const spoolDir = join(spools, "run-1");
  await mkdir(spools, { recursive: true, mode: 0o700 });
  const spec = RunSpec.parse({
    protocol: 1,
    run: "run-1",
    agentName: "triage",
    epoch: 1,
    manager: { url: options.managerUrl ?? "http://127.0.0.1:9" },
    sockets: {
      recorder: join(dir, "rec.sock"),
      markers: join(dir, "mark.sock"),
      runner: join(dir, "run.sock"),
    },
    runtimeDir: dir,
    spoolDir,
    agent: {
      runtime: "Custom",
      mode: "system",
      goal: null,
      model: undefined,
      argv: ["/bin/true"],
      timeoutMs: null,
      recordInput: options.recordInput ?? false,
      recordingEnabled: true,
      whenFull: options.whenFull,
      spoolQuotaBytes: options.spoolQuotaBytes,
    },
    terminal: { cols: 80, rows: 24 },
    zone: {
      kind: "sandbox",
      network: "gateway",
      workspace: dir,
      binds: [],
      memoryBytes: 1,
      processes: 1,
      scratchBytes: 1,
    },
    tools: [],
    modelEndpoint: null,
    shellPath: "/usr/bin",
  });
  const boot = {
    recorderToken: "recorder-".padEnd(40, "0"),
    agentletToken: "agentlet-".padEnd(40, "0"),
    runnerToken: "runner-".padEnd(40, "0"),
  };
  return {
    spec,
    boot,
    dir,
    spoolPath: join(spoolDir, "recording.cast"),
    async [Symbol.asyncDispose]() {
      await rm(dir, { recursive: true, force: true });
    },
  };
}
