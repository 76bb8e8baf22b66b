import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { closeSync } from "node:fs";
import { zonePlan } from "../agentlet/zone.ts";
import { nativeProgram } from "../kit/native.ts";
import { messageOf, PlatformError } from "../kit/platform-error.ts";
import { openSandbox, type ProgramExit, type SandboxPlan } from "../kit/sandbox.ts";
import type { DoctorResult } from "../protocol/results.ts";
import type { RunSpec } from "../protocol/run-spec.ts";
import { PROTOCOL } from "../protocol/version.ts";
import { planCall } from "../tool-runner/call-sandbox.ts";
import { CallSecrets } from "../tool-runner/call-secrets.ts";
import { ROOT_NAME } from "../tool-runner/sandbox-view.ts";
import { loadTool } from "../tool-runner/tools.ts";
import type { Check } from "./doctor-machine.ts";
import { resolveWorkspace } from "./zone-policy.ts";

type TierResult = DoctorResult["tiers"][number];

const LIMIT_MS = 15_000;
const UNBUILT = "is not built yet in this version";

/** Every tier, each tried by running `/bin/true` in it. */
export async function probeTiers(): Promise<TierResult[]> {
  const unbuilt = (tier: TierResult["tier"], what: string): TierResult => ({
    tier,
    available: false,
    error: `${what} ${UNBUILT}`,
    fix: null,
  });
  const standard = await outcomeOf(() => probeTool("standard"));
  const strict = await outcomeOf(() => probeTool("strict"));
  return [
    unbuilt("landlock", "the tier without namespaces"),
    { tier: "standard", available: standard.error === null, ...standard },
    { tier: "strict", available: strict.error === null, ...strict },
    unbuilt("pod", "the tier of a pod for each call"),
  ];
}

/** Zone A as a run makes it, on a workspace of its own; as root also on `cwd`, whose file system must allow id-mapped mounts. */
export async function probeZone(cwd: string): Promise<Check[]> {
  const own = await outcomeOf(async () => {
    const workspace = await mkdtemp(join(tmpdir(), "agentkube-doctor-"));
    try {
      await probeZoneOn(workspace);
    } finally {
      await rm(workspace, { recursive: true, force: true });
    }
  });
  const zone: Check = checkOf("zone A", "the agent's sandbox starts", own);
  if (process.getuid?.() !== 0) return [zone];
  let workspace: string;
  try {
    workspace = resolveWorkspace(cwd, cwd);
  } catch {
    const found = `not tried: "${cwd}" could not be a workspace`;
    return [zone, { name: "id-mapped mounts", ok: null, found, fix: null }];
  }
  const mapped = await outcomeOf(async () => await probeZoneOn(workspace));
  return [zone, checkOf("id-mapped mounts", `"${workspace}" allows them`, mapped)];
}

interface Outcome {
  readonly error: string | null;
  readonly fix: string | null;
}

async function outcomeOf(probe: () => Promise<void>): Promise<Outcome> {
  try {
    await probe();
    return { error: null, fix: null };
  } catch (error) {
    const fix = error instanceof PlatformError ? (error.fix ?? null) : null;
    // Elsewhere an error sends people here; here the other rows are the answer.
    const isCircle = fix?.includes("agentkube doctor") === true;
    return { error: messageOf(error), fix: isCircle ? "put right what the other rows name" : fix };
  }
}

function checkOf(name: string, good: string, { error, fix }: Outcome): Check {
  return { name, ok: error === null, found: error ?? good, fix };
}

/** The very plan of a tool call, without a boundary. In a container of ours, which has no /usr, the tool's root is one made for it. */
async function probeTool(tier: "standard" | "strict"): Promise<void> {
  if (existsSync("/bin/true")) return await probeToolIn(tier, null);
  const dir = await mkdtemp(join(tmpdir(), "agentkube-doctor-"));
  try {
    await mkdir(join(dir, ROOT_NAME, "bin"), { recursive: true });
    // Without a word it ends with 0, and it needs no library.
    await copyFile(nativeProgram("report"), join(dir, ROOT_NAME, "bin/true"));
    await probeToolIn(tier, dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function probeToolIn(tier: "standard" | "strict", packageDir: string | null): Promise<void> {
  const command = ["/bin/true"];
  const { tool } = loadTool({
    name: "doctor",
    spec: { operations: [{ name: "true", command }], sandbox: { tier } },
    packageDir,
    digest: `sha256:${"0".repeat(64)}`,
  });
  const plan = planCall({
    tool,
    argv: command,
    workspace: null,
    secrets: new CallSecrets(new Map(), []),
    boundary: { sandboxEnv: () => ({}), sandboxFiles: () => [] },
  });
  const signal = AbortSignal.timeout(LIMIT_MS);
  const stdio = { stdin: "ignore", stdout: "ignore", stderr: "ignore" } as const;
  await using sandbox = await openSandbox(plan, stdio, signal);
  requireSuccess(await sandbox.toolExit);
}

async function probeZoneOn(workspace: string): Promise<void> {
  const parts = { files: [], nodePath: process.execPath, reportSocket: null };
  const plan: SandboxPlan = zonePlan(specOn(workspace), parts);
  const signal = AbortSignal.timeout(LIMIT_MS);
  const stdio = { stdin: "ignore", stdout: "ignore", stderr: "ignore" } as const;
  await using sandbox = await openSandbox(plan, stdio, signal);
  for (const listener of sandbox.listeners.values()) closeSync(listener);
  const program = await sandbox.start({
    argv: ["/bin/true"],
    cwd: workspace,
    env: { PATH: "/usr/bin:/bin" },
    cols: 80,
    rows: 24,
  });
  try {
    requireSuccess(await program.exited);
  } finally {
    closeSync(program.master);
  }
}

function requireSuccess(exit: ProgramExit): void {
  if (exit.kind === "exited" && exit.code === 0) return;
  throw new PlatformError(
    "sandbox_start_failed",
    `/bin/true in it ended as ${JSON.stringify(exit)}`,
  );
}

/** A run spec that starts nothing; only what zone A is made of matters. */
function specOn(workspace: string): RunSpec {
  const nowhere = "/nonexistent";
  return {
    protocol: PROTOCOL,
    run: "doctor",
    agentName: "doctor",
    epoch: 0,
    manager: { url: "http://127.0.0.1:1" },
    sockets: { recorder: nowhere, markers: nowhere, runner: nowhere },
    runtimeDir: nowhere,
    spoolDir: nowhere,
    agent: {
      runtime: "Custom",
      mode: "system",
      goal: null,
      model: undefined,
      argv: ["/bin/true"],
      timeoutMs: null,
      recordInput: false,
      recordingEnabled: false,
    },
    terminal: { cols: 80, rows: 24 },
    zone: {
      kind: "sandbox",
      network: "gateway",
      workspace,
      binds: [],
      memoryBytes: 1024 ** 3,
      processes: 64,
      scratchBytes: 64 * 1024 ** 2,
    },
    tools: [],
    modelEndpoint: null,
    shellPath: "/usr/bin:/bin",
  };
}
