import { realpathSync } from "node:fs";
import { homedir } from "node:os";
import { dirname } from "node:path";
import { PlatformError } from "../kit/platform-error.ts";
import type { Agent, Mode } from "../protocol/agent-manifest.ts";
import type { Tool } from "../protocol/tool-manifest.ts";
import { millisecondsOf } from "../protocol/quantities.ts";
import type { Bind, RunSpec, Zone } from "../protocol/run-spec.ts";
import type { SecretSource } from "../protocol/secret-source.ts";
import { agentOfManifest, limitsOfManifest, positive } from "./agent-part.ts";
import { resolveAgentProgram, SYSTEM_PATH, type AgentProgram } from "./agent-program.ts";
import { ruleProblems, valueProblems } from "./credential-rules.ts";
import { openDataDir } from "./data-dir.ts";
import {
  type DeliveredKey,
  modelKeyOf,
  MODEL_SECRET,
  modelSecretOf,
  zoneKeyNotes,
} from "./model-key.ts";
import { programVersion } from "./program-version.ts";
import { checkResume, findOlderSession, resumeOf } from "./resume.ts";
import { withProvider } from "./model-provider.ts";
import { loadManifests, type LoadedManifests, type Placed } from "./manifests/load.ts";
import { refuseProblems } from "./manifests/problems.ts";
import { parseSecretWords, refuseUnused, resolveSecrets, secretFilesOf } from "./secrets.ts";
import { packageSourceOf } from "./store-tools.ts";
import type { SupervisorRequest } from "./supervisor-request.ts";
import { toolProblems } from "./tool-checks.ts";
import { needsOf, sourcesOf, toolSecretsOf } from "./tool-secrets.ts";
import {
  mountBinds,
  readListeningSockets,
  readOnlyCovers,
  refuseMovableWorkspace,
  refuseOverlaps,
  refuseSockets,
  resolveWorkspace,
} from "./zone-policy.ts";

/** How long a run goes on without a person, when nothing else is said. */
const UNATTENDED_TIMEOUT = "30m";

export interface Outside {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** how to run this program: node and its arguments up to the verb */
  readonly self: readonly string[];
  readonly runtimeDir: string;
}

/** A run that was read and checked, before anything of it exists. */
export interface PreparedRun extends DeliveredKey {
  readonly agent: Agent;
  readonly tools: readonly Placed<Tool>[];
  readonly agentPart: RunSpec["agent"];
  readonly zone: Zone;
  readonly shellPath: string;
  /** secrets of tools by NAME/KEY */
  readonly toolSecrets: ReadonlyMap<string, Buffer>;
  /** where secrets are read again at every use: by NAME/KEY, and the model's as `model-key` */
  readonly secretSources: Readonly<Record<string, SecretSource>>;
  /** the older session that it goes on with */
  readonly resume: RunSpec["resume"];
  readonly notes: readonly string[];
}

/** Reads everything a run is made of, once, and checks it. Throws what `run` shows: path, cause and fix. */
export async function prepareRun(
  request: SupervisorRequest,
  outside: Outside,
  signal: AbortSignal,
): Promise<PreparedRun> {
  const words = parseSecretWords(request.secrets);
  const older =
    request.resume === null ? null : await findOlderSession(request.dataDir, request.resume);
  const isNamed = request.files.length > 0 || request.runtime !== null;
  const loaded = loadManifests(
    {
      ...request,
      runtime: isNamed ? request.runtime : (older?.kept.runtime ?? null),
      givenSecrets: words.map((word) => word.id),
    },
    request.cwd,
  );
  const { agent, tools } = loaded;
  refuseUnsupported(agent);
  const packages = tools.map((tool) => packageSourceOf(tool));
  refuseProblems(
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
  const needs = [...needsOf(tools), ...modelRef];
  // The model's usual name may be given without a reference to it.
  const usual = modelSecretOf(agent, [MODEL_SECRET]);
  refuseUnused(
    words,
    [...needs, ...usual].map((need) => need.id),
  );
  const secrets = await resolveSecrets(
    needs,
    words,
    loaded.secrets,
    { env: outside.env, cwd: request.cwd },
    signal,
  );
  refuseProblems(tools.flatMap((tool) => valueProblems(tool.value, secrets.values)));

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
  const agentPart = {
    ...agentPartOf(loaded, program, request.attended, time.timeoutMs),
    model: withProvider(agent.spec, secrets.values.get(modelRef[0]?.id ?? "") ?? null),
  };
  const resumeNotes = older === null ? [] : checkResume(older, agentPart, workspace);
  return {
    agent,
    tools,
    agentPart,
    resume: older === null ? undefined : resumeOf(older),
    zone: zoneOf(agent, workspace, [...program.binds, ...mounts, ...covers]),
    shellPath: [...program.path, SYSTEM_PATH].join(":"),
    toolSecrets: toolSecretsOf(tools, secrets.values),
    secretSources: sourcesOf(tools, modelRef[0]?.id, secrets.sources),
    ...modelKeyOf(agent, secrets.values.get(modelRef[0]?.id ?? "") ?? null),
    notes: [...loaded.warnings, ...time.notes, ...zoneKeyNotes(agent), ...resumeNotes],
  };
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
    ...agentOfManifest(spec, mode),
    goal: loaded.goal,
    argv: [program.program, ...program.args],
    ...versionOf(program),
    timeoutMs,
  };
}

function versionOf({ real }: AgentProgram): { version?: string } {
  const version = programVersion(real);
  return version === undefined ? {} : { version };
}

function timeoutOf(agent: Agent, attended: boolean): { timeoutMs: number | null; notes: string[] } {
  if (agent.spec.timeout !== undefined)
    return { timeoutMs: positive("spec.timeout", agent.spec.timeout, "30m"), notes: [] };
  if (attended) return { timeoutMs: null, notes: [] };
  return {
    timeoutMs: millisecondsOf(UNATTENDED_TIMEOUT),
    notes: [
      `no terminal: the run ends after ${UNATTENDED_TIMEOUT} at the latest (spec.timeout changes that)`,
    ],
  };
}

function zoneOf(agent: Agent, workspace: string, binds: readonly Bind[]): Zone {
  return {
    kind: "sandbox",
    network: agent.spec.network ?? "public",
    workspace,
    binds: [...binds],
    ...limitsOfManifest(agent.spec),
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
