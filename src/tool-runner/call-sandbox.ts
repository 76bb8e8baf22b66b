import { isUtf8 } from "node:buffer";
import { posix } from "node:path";
import { PlatformError } from "../kit/platform-error.ts";
import type { SandboxBind, SandboxFile, SandboxPlan } from "../kit/sandbox-arguments.ts";
import type { Bind } from "../protocol/run-spec.ts";
import type { CallSecrets } from "./call-secrets.ts";
import { PACKAGE_DIR, TOOL_PATH } from "./sandbox-view.ts";
import { WORKSPACE_DIR, type LoadedTool } from "./tools.ts";

/** The port of the boundary's proxy inside the sandbox. */
export const BOUNDARY_PORT = 3128;
const OPEN_FILES = 1024;
const DATA_FACTOR = 2;
const DATA_SPARE_BYTES = 512 * 1024 * 1024;

/** What the boundary wants a tool to find in its sandbox. */
export interface BoundaryTraces {
  sandboxEnv(credentials: LoadedTool["credentials"]): Record<string, string>;
  sandboxFiles(): { path: string; data: Buffer; mode: number }[];
}

/** The agent's workspace as a tool may see it. */
export interface CallWorkspace {
  source: string;
  mode: "ro" | "rw";
  /** host paths bound read-only over parts of it, as in zone A */
  covers: readonly Bind[];
}

export interface CallPlanOptions {
  tool: LoadedTool;
  argv: string[];
  workspace: CallWorkspace | null;
  /** the directory it works in is read once the tool is dead */
  keepsDirectory?: boolean;
  secrets: Pick<CallSecrets, "valueOf">;
  boundary: BoundaryTraces;
}

/** The sandbox of one call: an allow list made from the tool's manifest and nothing else. */
export function planCall({
  tool,
  argv,
  workspace,
  keepsDirectory = false,
  secrets,
  boundary,
}: CallPlanOptions): SandboxPlan {
  const networked = hasNetwork(tool);
  const delivered = deliveries(tool, secrets);
  const binds = workspace === null ? [] : workspaceBinds(workspace);
  const { root, files } = tool.view;
  if (files !== null) binds.push({ source: files, target: PACKAGE_DIR, mode: "ro" });
  return {
    init: "tool-init",
    initArgs: networked ? ["--listen", String(BOUNDARY_PORT)] : [],
    argv,
    hostname: "tool",
    network: "own",
    nestedUserNamespaces: false,
    readOnlyProc: true,
    root: root === null ? { kind: "system" } : { kind: "tree", path: root },
    binds,
    files: [...(networked ? shared(boundary.sandboxFiles()) : []), ...delivered.files],
    tmpfs: [{ path: "/tmp", bytes: tool.sandbox.scratchBytes }],
    keepsDirectory,
    cwd: workspace === null ? "/tmp" : WORKSPACE_DIR,
    env: {
      PATH: TOOL_PATH,
      HOME: "/tmp",
      LANG: "C.UTF-8",
      ...tool.sandbox.env,
      ...delivered.env,
      // Last: nothing a manifest says may point a tool at another proxy or another trust store.
      ...(networked ? boundary.sandboxEnv(tool.credentials) : {}),
    },
    processes: tool.sandbox.processes,
    // The watchdog looks at the whole call; the kernel's limit for each process only backs it up.
    limits: {
      cpuSeconds: Math.ceil(tool.sandbox.cpuMs / 1000) + 2,
      openFiles: OPEN_FILES,
      // Address space that is only reserved counts here, so it is more than the memory that may be used.
      dataBytes: tool.sandbox.memoryBytes * DATA_FACTOR + DATA_SPARE_BYTES,
    },
    ...(tool.sandbox.tier === "strict" ? { enforced: enforcedOf(tool) } : {}),
    seccomp: "tool",
  };
}

function enforcedOf({ sandbox }: LoadedTool): NonNullable<SandboxPlan["enforced"]> {
  return { memoryBytes: sandbox.memoryBytes, processes: sandbox.processes };
}

/** What is no secret and the same in every call of the run may wait in sandboxes prepared ahead. */
function shared(files: readonly SandboxFile[]): SandboxFile[] {
  return files.map((file) => ({ ...file, shared: true }));
}

/** Whether a call gets the boundary's listener at all; without declared hosts there is no network of any kind. */
export function hasNetwork(tool: LoadedTool): boolean {
  return tool.sandbox.network.length > 0;
}

function workspaceBinds({ source, mode, covers }: CallWorkspace): SandboxBind[] {
  // The agent works there while the sandbox is built: nothing it puts in the way may lead the bind elsewhere.
  const whole = { source, target: WORKSPACE_DIR, mode, exact: true } as const;
  // What is read-only as a whole needs no covers.
  if (mode === "ro") return [whole];
  return [
    whole,
    ...covers.map(({ source: covered, target }) => ({
      source: covered,
      target: `${WORKSPACE_DIR}/${posix.relative(source, target)}`,
      mode: "ro" as const,
    })),
  ];
}

/** The read-only covers of zone A that lie inside the workspace: no tool may change what the agent may not. */
export function coversOf(workspace: string, binds: readonly Bind[]): Bind[] {
  return binds.filter(({ target, mode }) => mode === "ro" && target.startsWith(`${workspace}/`));
}

/** Credentials that the tool itself is given (exposure: tool), and placeholders for those it is not. */
function deliveries(
  tool: LoadedTool,
  secrets: Pick<CallSecrets, "valueOf">,
): { env: Record<string, string>; files: SandboxPlan["files"] } {
  const env: Record<string, string> = {};
  const files: SandboxPlan["files"] = [];
  for (const credential of tool.credentials) {
    if (credential.placeholderEnv !== undefined)
      env[credential.placeholderEnv] = `agentkube-placeholder-${credential.name}`;
    if (credential.env !== undefined)
      env[credential.env] = textOf(secrets.valueOf(credential.secretRef), credential.name);
    if (credential.file !== undefined)
      files.push({
        path: credential.file,
        data: secrets.valueOf(credential.secretRef),
        mode: 0o400,
      });
  }
  return { env, files };
}

function textOf(value: Buffer, credential: string): string {
  if (isUtf8(value) && !value.includes(0)) return value.toString("utf8");
  throw new PlatformError(
    "credential_undeliverable",
    `Credential "${credential}" cannot be an environment variable: its value is not UTF-8 text without NUL`,
    { fix: "deliver it with file: instead of env:" },
  );
}
