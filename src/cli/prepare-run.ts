import { isUtf8 } from "node:buffer";
import { realpathSync } from "node:fs";
import { homedir } from "node:os";
import { dirname } from "node:path";
import { PlatformError } from "../kit/platform-error.ts";
import type { Agent, Mode } from "../protocol/agent-manifest.ts";
import type { Tool } from "../protocol/tool-manifest.ts";
import { bytesOf, millisecondsOf, type Duration } from "../protocol/quantities.ts";
import type { Bind, RunSpec, RunTool, Zone } from "../protocol/run-spec.ts";
import type { SecretSource } from "../protocol/secret-source.ts";
import { resolveAgentProgram, SYSTEM_PATH, type AgentProgram } from "./agent-program.ts";
import { checkTool } from "../tool-runner/local-call.ts";
import { ruleProblems, valueProblems } from "./credential-rules.ts";
import { openDataDir } from "./data-dir.ts";
import { DEFAULT_MODEL_KEY } from "./manifests/from-words.ts";
import { withProvider } from "./model-provider.ts";
import { loadManifests, type LoadedManifests, type Placed } from "./manifests/load.ts";
import { parseSecretWords, resolveSecrets, secretFilesOf, type SecretNeed } from "./secrets.ts";
import { packageSourceOf, type PackageSource } from "./store-tools.ts";
import type { SupervisorRequest } from "./supervisor-request.ts";
import {
  mountBinds,
  readListeningSockets,
  readOnlyCovers,
  refuseMovableWorkspace,
  refuseOverlaps,
  refuseSockets,
  resolveWorkspace,
} from "./zone-policy.ts";

/** Bounds of zone A when the Agent names none. */
const DEFAULT_LIMITS = { memory: "4Gi", processes: 512, scratch: "2Gi" } as const;
/** Shorter values occur in ordinary text; of longer ones not every part would be masked. */
const ZONE_KEY_BYTES = { least: 8, most: 4096 };
/** How long a run goes on without a person, when nothing else is said. */
const UNATTENDED_TIMEOUT = "30m";

export interface Outside {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** how to run this program: node and its arguments up to the verb */
  readonly self: readonly string[];
  readonly runtimeDir: string;
}

/** A run that was read and checked, before anything of it exists. */
export interface PreparedRun {
  readonly agent: Agent;
  readonly tools: readonly Placed<Tool>[];
  readonly agentPart: RunSpec["agent"];
  readonly zone: Zone;
  readonly shellPath: string;
  /** secrets of tools by NAME/KEY */
  readonly toolSecrets: ReadonlyMap<string, Buffer>;
  /** the gateway puts it in */
  readonly modelKey: Buffer | null;
  /** where secrets are read again at every use: by NAME/KEY, and the model's as `model-key` */
  readonly secretSources: Readonly<Record<string, SecretSource>>;
  /** the same key with `agentToken.delivery: env`, which enters zone A; then the gateway has none */
  readonly zoneModelKey: Buffer | null;
  readonly notes: readonly string[];
}

/** Reads everything a run is made of, once, and checks it. Throws what `run` shows: path, cause and fix. */
export async function prepareRun(
  request: SupervisorRequest,
  outside: Outside,
  signal: AbortSignal,
): Promise<PreparedRun> {
  const words = parseSecretWords(request.secrets);
  const loaded = loadManifests(
    { ...request, givenSecrets: words.map((word) => word.id) },
    request.cwd,
  );
  const { agent, tools } = loaded;
  refuseUnsupported(agent);
  const packages = tools.map((tool) => packageSourceOf(tool));
  invalidWhen(
    tools.flatMap((tool, index) => [
      ...ruleProblems(tool.value),
      ...toolProblems(tool.value, packages[index] ?? null),
    ]),
  );

  openDataDir(request.dataDir);
  const workspace = resolveWorkspace(request.workspace, request.cwd);
  const home = outside.env["HOME"] ?? homedir();
  const program = resolveAgentProgram(agent, workspace, outside.env);
  const mounts = mountBinds(agent.spec.mounts ?? [], home);
  const candidates = [
    { what: "workspace", path: workspace },
    ...mounts.map((mount) => ({ what: "mount", path: mount.source })),
    ...program.binds.map((bind) => ({ what: "program directory", path: bind.source })),
  ];
  refuseMovableWorkspace(workspace, mounts);
  refuseOverlaps(candidates, [
    { what: "data directory", path: realpathSync(request.dataDir) },
    { what: "runtime directory", path: realpathSync(outside.runtimeDir) },
    ...secretFilesOf(words, request.cwd).map((path) => ({ what: "secret file", path })),
    ...loaded.secretFiles.map((path) => ({ what: "secret manifest", path })),
  ]);
  refuseSockets(candidates, readListeningSockets());

  const modelRef = modelSecretOf(
    agent,
    words.map((word) => word.id),
  );
  const secrets = await resolveSecrets(
    [...needsOf(tools), ...modelRef],
    words,
    loaded.secrets,
    { env: outside.env, cwd: request.cwd },
    signal,
  );
  invalidWhen(tools.flatMap((tool) => valueProblems(tool.value, secrets.values)));

  const writable = [
    { source: workspace, target: workspace },
    ...mounts.filter((mount) => mount.mode === "rw"),
  ];
  const covers = readOnlyCovers(
    [
      ...loaded.files,
      ...packages.flatMap((source) => (source === null ? [] : [source.path])),
      ...ownInstallation(outside.self),
    ],
    writable,
  );
  const time = timeoutOf(agent, request.attended);
  return {
    agent,
    tools,
    agentPart: {
      ...agentPartOf(loaded, program, request.attended, time.timeoutMs),
      model: withProvider(agent.spec, secrets.values.get(modelRef[0]?.id ?? "") ?? null),
    },
    zone: zoneOf(agent, workspace, [...program.binds, ...mounts, ...covers]),
    shellPath: [...program.path, SYSTEM_PATH].join(":"),
    toolSecrets: toolSecretsOf(tools, secrets.values),
    secretSources: sourcesOf(tools, modelRef[0]?.id, secrets.sources),
    ...modelKeyOf(agent, secrets.values.get(modelRef[0]?.id ?? "") ?? null),
    notes: [...loaded.warnings, ...secrets.warnings, ...time.notes, ...zoneKeyNotes(agent)],
  };
}

/** What the tool-runner would refuse, found before the run exists. */
function toolProblems(tool: Tool, source: PackageSource | null): string[] {
  // What is in an archive is seen once it is unpacked, into the store; the supervisor looks then.
  if (source?.kind === "archive") return [];
  const { name } = tool.metadata;
  const packageDir = source?.path ?? null;
  return problemsOfStored({
    name,
    spec: tool.spec,
    packageDir,
    digest: `sha256:${"0".repeat(64)}`,
  });
}

/** Throws `invalid_manifest` when a tool of the store could not be called. */
export function refuseUnusable(tool: RunTool): void {
  invalidWhen(problemsOfStored(tool));
}

function problemsOfStored(tool: RunTool): string[] {
  return checkTool(tool).map(
    ({ path, problem, fix }) =>
      `Tool "${tool.name}" ${path}: ${problem}${fix === undefined ? "" : ` (${fix})`}`,
  );
}

function refuseUnsupported(agent: Agent): void {
  if (agent.spec.recording?.enabled === false)
    throw new PlatformError(
      "unsupported",
      `Cannot run Agent "${agent.metadata.name}": recording.enabled false is not yet supported`,
      { fix: "remove it; every run is recorded, and agentkube prune removes recordings" },
    );
}

function agentPartOf(
  loaded: LoadedManifests,
  program: AgentProgram,
  attended: boolean,
  timeoutMs: number | null,
): RunSpec["agent"] {
  const { spec } = loaded.agent;
  const mode: Mode = spec.mode ?? (attended ? "supervised" : "system");
  return {
    runtime: spec.runtime,
    mode,
    goal: loaded.goal,
    model: spec.model,
    argv: [program.program, ...program.args],
    timeoutMs,
    recordInput: spec.recording?.input ?? false,
    recordingEnabled: spec.recording?.enabled ?? true,
    ...(spec.recording?.whenFull === undefined ? {} : { whenFull: spec.recording.whenFull }),
    ...(spec.recording?.quota === undefined
      ? {}
      : { spoolQuotaBytes: bytesOf(spec.recording.quota) }),
    ...(spec.approvals === undefined ? {} : { approvals: spec.approvals }),
    ...approvalTimeoutOf(spec.approvalTimeout),
  };
}

function approvalTimeoutOf(duration: Duration | undefined): { approvalTimeoutMs?: number } {
  if (duration === undefined) return {};
  const approvalTimeoutMs = millisecondsOf(duration);
  if (approvalTimeoutMs > 0) return { approvalTimeoutMs };
  throw new PlatformError("invalid_manifest", "spec.approvalTimeout: expected more than 0", {
    fix: "write for example approvalTimeout: 10m",
  });
}

function timeoutOf(agent: Agent, attended: boolean): { timeoutMs: number | null; notes: string[] } {
  if (agent.spec.timeout !== undefined) {
    const timeoutMs = millisecondsOf(agent.spec.timeout);
    if (timeoutMs > 0) return { timeoutMs, notes: [] };
    throw new PlatformError("invalid_manifest", "spec.timeout: expected more than 0", {
      fix: "write for example timeout: 30m",
    });
  }
  if (attended) return { timeoutMs: null, notes: [] };
  return {
    timeoutMs: millisecondsOf(UNATTENDED_TIMEOUT),
    notes: [
      `no terminal: the run ends after ${UNATTENDED_TIMEOUT} at the latest (spec.timeout changes that)`,
    ],
  };
}

function zoneOf(agent: Agent, workspace: string, binds: readonly Bind[]): Zone {
  const limits = { ...DEFAULT_LIMITS, ...agent.spec.limits };
  return {
    kind: "sandbox",
    network: agent.spec.network ?? "public",
    workspace,
    binds: [...binds],
    memoryBytes: bytesOf(limits.memory ?? DEFAULT_LIMITS.memory),
    processes: limits.processes ?? DEFAULT_LIMITS.processes,
    scratchBytes: bytesOf(limits.scratch ?? DEFAULT_LIMITS.scratch),
  };
}

/**
 * This package, the packages beside it that it needs, and the Node that runs it: what is executed with secrets in hand must not
 * be the agent's to change.
 */
function ownInstallation(self: readonly string[]): string[] {
  const [node = process.execPath, entry] = self;
  const root = entry === undefined ? [] : [dirname(dirname(realpathSync(entry)))];
  return [...root, realpathSync(node)].map((path) => {
    const at = path.indexOf("/node_modules/");
    return at === -1 ? path : path.slice(0, at + "/node_modules".length);
  });
}

/** The secret of the model key: the one that the Agent names, else the usual one when the command line gives it. */
function modelSecretOf(agent: Agent, given: readonly string[]): SecretNeed[] {
  const ref = agent.spec.agentToken?.secretRef;
  const usual = `${DEFAULT_MODEL_KEY.name}/${DEFAULT_MODEL_KEY.key}`;
  const neededBy = `the model of Agent "${agent.metadata.name}"`;
  if (ref !== undefined) return [{ id: `${ref.name}/${ref.key}`, neededBy }];
  return given.includes(usual) ? [{ id: usual, neededBy }] : [];
}

/** Where the model key goes: to the gateway, or by `delivery: env` into zone A. Throws when it cannot be delivered or not be masked. */
function modelKeyOf(
  agent: Agent,
  key: Buffer | null,
): Pick<PreparedRun, "modelKey" | "zoneModelKey"> {
  if (agent.spec.agentToken?.delivery !== "env" || key === null)
    return { modelKey: key, zoneModelKey: null };
  const problem = problemOfZoneKey(key);
  if (problem === null) return { modelKey: null, zoneModelKey: key };
  throw new PlatformError(
    "invalid_manifest",
    `Cannot run Agent "${agent.metadata.name}": agentToken.delivery env ${problem}`,
    { fix: "use delivery: brokered, which never shows the key to the agent" },
  );
}

function zoneKeyNotes({ spec }: Agent): string[] {
  if (spec.agentToken?.delivery !== "env" || spec.network !== "gateway") return [];
  return [
    "agentToken.delivery env: the CLI speaks to the provider itself, which spec.network gateway does not let it reach",
  ];
}

/** A variable ends at NUL and is text; a value that is too short or too long could not be masked in the recording. */
function problemOfZoneKey(key: Buffer): string | null {
  if (!isUtf8(key) || key.includes(0)) return "expects a key that is text, got other bytes";
  const { least, most } = ZONE_KEY_BYTES;
  if (key.length >= least && key.length <= most) return null;
  return `expects a key of ${least} to ${most} bytes, which the recording can mask, got ${key.length}`;
}

function needsOf(tools: readonly Placed<Tool>[]): SecretNeed[] {
  return tools.flatMap(({ value }) =>
    (value.spec.credentials ?? []).map((credential) => ({
      id: `${credential.secretRef.name}/${credential.secretRef.key}`,
      neededBy: `credential "${credential.name}" of Tool "${value.metadata.name}"`,
    })),
  );
}

function toolSecretsOf(
  tools: readonly Placed<Tool>[],
  values: ReadonlyMap<string, Buffer>,
): Map<string, Buffer> {
  const ids = new Set(needsOf(tools).map((need) => need.id));
  return new Map([...values].filter(([id]) => ids.has(id)));
}

function sourcesOf(
  tools: readonly Placed<Tool>[],
  modelId: string | undefined,
  sources: ReadonlyMap<string, SecretSource>,
): Record<string, SecretSource> {
  const ids = new Set(needsOf(tools).map((need) => need.id));
  const model = modelId === undefined ? undefined : sources.get(modelId);
  return {
    ...Object.fromEntries([...sources].filter(([id]) => ids.has(id))),
    ...(model === undefined ? {} : { "model-key": model }),
  };
}

function invalidWhen(problems: readonly string[]): void {
  if (problems.length === 0) return;
  throw new PlatformError(
    "invalid_manifest",
    problems.length === 1
      ? `Cannot use the manifest: ${problems[0] ?? ""}`
      : `Cannot use the manifest: ${problems.length} problems\n${problems.map((problem) => `  ${problem}`).join("\n")}`,
    { fix: "correct the rules named above; docs/tool-authors.md explains them" },
  );
}
