import { createSecretKey } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import timers from "node:timers/promises";
import type { Log } from "../kit/log.ts";
import { removeOldGroups } from "../kit/control-groups.ts";
import { configurePool, emptyPool, poolMetrics, type PoolOptions } from "../kit/sandbox-pool.ts";
import type { AuditRecord } from "../protocol/audit.ts";
import { RUNNER_END } from "../protocol/pod-grace.ts";
import type { RunnerBoot, RunSpec } from "../protocol/run-spec.ts";
import { socketModeOf } from "../protocol/socket-mode.ts";
import { AgentHttp, type AgentRoutes } from "./agent-http.ts";
import { AgentToken } from "./agent-token.ts";
import { readSigningKey } from "../kit/signing.ts";
import { Audit } from "./audit.ts";
import { AuditLink } from "./audit-link.ts";
import { Boundary } from "./boundary/boundary.ts";
import { ModelBudget } from "./boundary/model-budget.ts";
import { createModelGateway, type ModelKey } from "./boundary/model-gateway.ts";
import { createPublicProxy } from "./boundary/public-proxy.ts";
import type { BoundaryRequest } from "./boundary/request-record.ts";
import { CallTally } from "./call-tally.ts";
import { CallRequests } from "./call-requests.ts";
import { coversOf } from "./call-sandbox.ts";
import { CallSecrets } from "./call-secrets.ts";
import { Markers } from "./markers.ts";
import { McpServers } from "./mcp/mcp-servers.ts";
import type { McpFace } from "./mcp-server.ts";
import { workspaceOf } from "./call-workspace.ts";
import { finishMerges } from "./private-workspace.ts";
import { CallQueue, RUN_CALLS } from "./queue.ts";
import type { ToolRunner } from "./tool-runner.ts";
import { serveToolFace } from "./tool-face.ts";
import { WorkspaceFlows } from "./workspace-flows.ts";
import { type LoadedTool, loadTools } from "./tools.ts";

/** The name of the model key among the secrets; a Secret's name has a slash. */
const MODEL_KEY = "model-key";

export interface ServeRunOptions {
  spec: RunSpec;
  boot: RunnerBoot;
  log: Log;
  /** sandboxes kept ready for the next calls; none unless given */
  pool?: PoolOptions;
  /** called once, when agents may come */
  onReady: () => void;
}

/** Serves the tools of one run until the signal is aborted; then every call is killed, every credential gone, the audit sent. */
export async function serveRun(options: ServeRunOptions, stop: AbortSignal): Promise<void> {
  const { spec, boot, log, onReady } = options;
  const tools = loadTools(spec.tools);
  const callsDir = join(spec.runtimeDir, "calls");
  mkdirSync(callsDir, { recursive: true, mode: 0o700 });
  const unmerged = await finishMerges(callsDir);
  if (unmerged.length > 0)
    log.warn({ files: unmerged.length }, "changes of an interrupted call could not be merged");

  const oldGroups = await removeOldGroups();
  if (oldGroups > 0) log.warn({ groups: oldGroups }, "control groups of a crashed runner removed");

  const argumentsKey = Buffer.from(boot.auditKey, "base64");
  using audit = Audit.open({
    path: join(spec.runtimeDir, "audit.jsonl"),
    run: spec.run,
    key: readSigningKey(boot.signingSeed),
    argumentsKey,
  });
  const secrets = new CallSecrets(valuesOf(boot), tools.values(), {
    epoch: audit.journal.epoch,
    sources: boot.sources ?? {},
    onChange: (change) => {
      log.warn(change, "a secret changed");
      const time = new Date().toISOString();
      record(audit, log, { type: "credential", time, run: spec.run, ...change });
    },
  });
  secrets.require(tools.values());
  const tally = new CallTally();
  const queue = new CallQueue(RUN_CALLS);
  await using markers = new Markers({
    socketPath: spec.sockets.markers,
    token: boot.runnerToken,
    log,
  });
  const requests = new CallRequests();
  const onRequest = (request: BoundaryRequest): void => {
    requests.take(request);
    const time = new Date().toISOString();
    record(audit, log, { type: "request", time, run: spec.run, ...request });
  };
  const ended = new AbortController();
  const active = new Set<Promise<unknown>>();
  const workspace = {
    path: spec.zone.workspace,
    covers: coversOf(spec.zone.workspace, spec.zone.binds),
  };
  const hosts = hostsOf(tools);
  const boundary = new Boundary({ run: spec.run, log, onRequest, hosts });
  await using servers = new McpServers({
    secrets,
    boundary,
    workspaceOf: (tool) => workspaceOf({ workspace }, tool, null),
    log,
    ended: ended.signal,
  });
  const runner: ToolRunner = {
    run: spec.run,
    tools,
    secrets,
    boundary,
    servers,
    requests,
    queue,
    flows: new WorkspaceFlows(),
    merges: new CallQueue({ running: 1, waiting: RUN_CALLS.running }),
    workspace,
    callsDir,
    keepDir: join(spec.runDir ?? spec.runtimeDir, "unmerged"),
    auditKey: createSecretKey(argumentsKey),
    record: (entry: AuditRecord) => {
      tally.take(entry);
      audit.record(entry);
    },
    mark: (label) => markers.mark(label),
    ended: ended.signal,
    log,
  };
  const budget = new ModelBudget(
    spec.agent.model?.budget,
    audit.earlierModelUse,
    ({ limit, allowed, used }) => {
      markers.mark(`model budget reached: ${used} of ${allowed} ${limit}`);
      log.warn({ limit, allowed, used }, "model budget reached");
      const time = new Date().toISOString();
      record(audit, log, { type: "budget", time, run: spec.run, limit, allowed, used });
    },
  );
  let face: Promise<McpFace> | undefined;
  const mcpFace = (): Promise<McpFace> =>
    (face ??= import("./mcp-server.ts").then(({ McpFace }) => new McpFace(runner)));
  const routes: AgentRoutes = {
    mcp: (request, response) =>
      track(
        active,
        mcpFace().then((mcp) => mcp.serve(request, response)),
      ),
    tools: (request, response) => track(active, serveToolFace(runner, request, response)),
    model: createModelGateway({ spec, key: modelKeyOf(boot, secrets), log, onRequest, budget }),
    proxy: spec.zone.network === "public" ? createPublicProxy({ log, onRequest }) : null,
  };
  await using http = await AgentHttp.listen({
    socketPath: spec.sockets.runner,
    mode: socketModeOf(spec),
    token: new AgentToken(boot.agentToken),
    routes,
    log,
  });
  if (options.pool !== undefined) await configurePool(options.pool);
  log.info({ tools: tools.size, pool: options.pool }, "tool-runner ready");
  onReady();
  // Takes some milliseconds, which are not the first call's.
  if (hosts.length > 0) boundary.sandboxFiles();
  // Not before: what is recorded waits in the journal, and a start does not wait for the way to the manager.
  await using link = new AuditLink({
    manager: spec.manager,
    run: spec.run,
    epoch: spec.epoch,
    token: boot.runnerToken,
    journal: audit.journal,
    report: () => tally.report(queue, poolMetrics()),
    log,
  });
  // The SDK takes longer to load than all the rest: nobody waits for it who does not speak MCP, and no agent is there so soon.
  mcpFace().catch((error: unknown) => log.error({ err: error }, "MCP cannot be served"));
  await aborted(stop);
  // Calls first, so that each of them still says how it ended; then the door, then what holds secrets.
  ended.abort();
  await Promise.race([
    Promise.allSettled(active),
    timers.setTimeout(RUNNER_END.callsMs, undefined, { ref: false }),
  ]);
  await servers[Symbol.asyncDispose]();
  await http[Symbol.asyncDispose]();
  await Promise.allSettled(active);
  const pool = poolMetrics();
  await emptyPool();
  secrets.wipe();
  audit.sumUp();
  const isSent = await link.flush(RUNNER_END.flushMs);
  log.info({ records: audit.journal.lastSeq, isSent, pool }, "tool-runner ended");
}

/** The model key is one of them under a name that no Secret has, so that it is masked with the rest. */
function valuesOf({ secrets, modelKey }: RunnerBoot): Map<string, Buffer> {
  const named = Object.entries(secrets);
  if (modelKey !== null) named.push([MODEL_KEY, modelKey]);
  return new Map(named.map(([name, value]) => [name, Buffer.from(value, "base64")]));
}

function modelKeyOf({ modelKey }: RunnerBoot, secrets: CallSecrets): ModelKey | null {
  if (modelKey === null) return null;
  return {
    lend: async () => await secrets.lendNamed(MODEL_KEY),
    redaction: () => secrets.redaction,
  };
}

/** Every host that a tool of this run may reach; the run's certificates can be for no other. */
function hostsOf(tools: ReadonlyMap<string, LoadedTool>): string[] {
  return [
    ...new Set(
      [...tools.values()].flatMap(({ sandbox }) => sandbox.network.map(({ host }) => host)),
    ),
  ];
}

/** For records whose subject is over: what cannot be written is logged, and the next call is refused. */
function record(audit: Audit, log: Log, entry: AuditRecord): void {
  try {
    audit.record(entry);
  } catch (error) {
    log.error({ err: error, type: entry.type }, "an audit record could not be written");
  }
}

function track<T>(active: Set<Promise<unknown>>, work: Promise<T>): Promise<T> {
  active.add(work);
  const forget = (): void => void active.delete(work);
  work.then(forget, forget);
  return work;
}

function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  else signal.addEventListener("abort", () => resolve(), { once: true });
  return promise;
}
