import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { PlatformError } from "../kit/platform-error.ts";
import {
  AnswerRun,
  FinishRun,
  PromptRun,
  RegisterRun,
  type Health,
  type RunList,
} from "../protocol/manager-api.ts";
import { RegisterPod } from "../protocol/pod-boot.ts";
import type { MetricList } from "../protocol/metrics.ts";
import { PROTOCOL } from "../protocol/version.ts";
import { actOn } from "./acts.ts";
import type { Guard, OperatorProof } from "./guard.ts";
import { readJournal } from "./journal.ts";
import { metricsOf, textOfMetrics, type MetricSources } from "./metrics.ts";
import { DATA_HEADERS, readBody, replyJson, replyText } from "./reply.ts";
import type { Pods } from "./pods.ts";
import type { Run } from "./run.ts";
import { handleReplay } from "./replay-routes.ts";
import type { Replays } from "./replays.ts";
import { sendRecording } from "./send-recording.ts";
import { handleShells } from "./shell-routes.ts";

/** What the routes need of the manager. */
export interface ApiContext extends MetricSources {
  readonly pods: Pods;
  readonly guard: Guard;
  readonly version: string;
  readonly replays: Replays;
  /** the manager's public key */
  readonly key: string;
  /** Ends the manager when nothing is live and nobody watches; says whether it will. */
  shutdownIfIdle(): boolean;
}

interface Call {
  request: IncomingMessage;
  response: ServerResponse;
  url: URL;
  proof: OperatorProof;
}

/** Answers a request of the operator, whose Host, Origin and token were checked. Throws `PlatformError` for refusals. */
export async function handleApi(context: ApiContext, call: Call): Promise<void> {
  const { request, response, url } = call;
  const route = `${request.method === "HEAD" ? "GET" : (request.method ?? "")} ${url.pathname}`;
  switch (route) {
    case "GET /v1/health":
      return replyJson(response, 200, healthOf(context));
    case "GET /v1/metrics":
      return replyJson(response, 200, { metrics: metricsOf(context) } satisfies MetricList);
    case "GET /metrics":
      return replyText(response, textOfMetrics(metricsOf(context)));
    case "GET /v1/runs":
      return replyJson(response, 200, {
        runs: context.runs.list().map((run) => run.infoNow),
      } satisfies RunList);
    case "POST /v1/login":
      // A cookie that could renew itself would never end.
      requireBearer(call);
      response.setHeader("set-cookie", context.guard.loginCookie());
      return replyJson(response, 200, { ok: true });
    case "POST /v1/runs": {
      requireBearer(call);
      const run = await context.runs.register(
        await readBody(request, "the registration of a run", RegisterRun),
      );
      return replyJson(response, 201, run.info);
    }
    case "POST /v1/pods": {
      requireBearer(call);
      const run = await context.pods.register(
        await readBody(request, "the registration of a pod", RegisterPod),
      );
      return replyJson(response, 201, run.info);
    }
    case "POST /v1/shutdown-if-idle":
      requireBearer(call);
      return replyJson(response, 202, { exits: context.shutdownIfIdle() });
    default:
      return await handleRun(context, call);
  }
}

async function handleRun(context: ApiContext, call: Call): Promise<void> {
  const { request, response, url } = call;
  const match = /^\/v1\/runs\/([a-z0-9-]{1,63})(\/[a-z.]+)?(\/[a-z0-9./-]+)?$/.exec(url.pathname);
  if (match === null) throw noRoute(call);
  const run = context.runs.get(match[1] ?? "");
  if (run === undefined)
    throw new PlatformError("unknown_run", `No run "${match[1] ?? ""}" in this data directory`, {
      fix: "see agentkube ps for the runs",
    });
  const [, , face = "", rest = ""] = match;
  if (face === "/shells") {
    if (await handleShells(run, { ...call, rest, replays: context.replays })) return;
    throw noRoute(call);
  }
  const { replays } = context;
  const isRead = request.method === "GET" || request.method === "HEAD";
  if (isRead && (await handleReplay(response, { session: run, replays, path: face + rest })))
    return;
  if (rest !== "") throw noRoute(call);
  switch (`${request.method === "HEAD" ? "GET" : (request.method ?? "")} ${face}`) {
    case "GET ":
      return replyJson(response, 200, run.infoNow);
    case "DELETE ":
      requireBearer(call);
      await context.runs.remove(run);
      context.replays.forget(run.recordingPath);
      return replyJson(response, 200, { removed: run.id });
    case "GET /events":
      return await sendJournal(call, run.file("events.jsonl"));
    case "GET /audit":
      return await sendJournal(call, run.file("audit.jsonl"));
    case "GET /recording.cast":
      return await sendRecording(call, run);
    case "POST /stop":
      if (run.isLive) await run.askStop(byOf(call));
      return replyJson(response, run.isLive ? 202 : 200, run.info);
    case "POST /prompt": {
      const { text } = await readBody(request, "a prompt", PromptRun);
      return await replyAct(call, run, { kind: "prompt", by: byOf(call), text });
    }
    case "POST /answer": {
      const { ask, choice } = await readBody(request, "an answer", AnswerRun);
      return await replyAct(call, run, { kind: "answer", by: byOf(call), ask, choice });
    }
    case "POST /interrupt":
      return await replyAct(call, run, { kind: "interrupt", by: byOf(call) });
    case "POST /end":
      requireBearer(call);
      await context.runs.finish(run, await readBody(request, "the end of a run", FinishRun));
      return replyJson(response, 200, run.info);
    default:
      throw noRoute(call);
  }
}

/** Does something to the CLI of a run for as long as whoever asks is there to hear of it. */
async function replyAct(
  { response }: Call,
  run: Run,
  act: Parameters<typeof actOn>[1],
): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  replyJson(response, 200, await actOn(run, act, gone.signal));
}

/** The lines of a journal as a JSON array, sent as they are read. */
async function sendJournal({ response, url }: Call, path: string): Promise<void> {
  const from = fromOf(url);
  response.writeHead(200, { ...DATA_HEADERS, "content-type": "application/json; charset=utf-8" });
  await pipeline(async function* () {
    let separator = "[";
    for await (const line of readJournal(path, from)) {
      yield separator + line;
      separator = ",\n";
    }
    yield separator === "[" ? "[]\n" : "]\n";
  }, response);
}

/** `?from=SEQ`: the first sequence number wanted, 1 unless given. Throws `PlatformError` `bad_request`. */
export function fromOf(url: URL): number {
  const text = url.searchParams.get("from") ?? "1";
  if (/^[0-9]{1,15}$/.test(text)) return Number(text);
  throw new PlatformError("bad_request", `Expected from as a number, got "${text.slice(0, 32)}"`);
}

function healthOf({ runs, version, key }: ApiContext): Health {
  return { protocol: PROTOCOL, pid: process.pid, version, key, liveRuns: runs.live.length };
}

/** Who asks, for the record: a page or a program of the operator. */
function byOf({ proof }: Call): string {
  return proof === "cookie" ? "the page" : "the operator";
}

/** Some acts are of the supervisor alone, never of a page. */
function requireBearer({ proof, url }: Call): void {
  if (proof === "bearer") return;
  throw new PlatformError(
    "unauthorized",
    `Expected the operator token as Bearer for ${url.pathname}, got a cookie`,
  );
}

function noRoute({ request, url }: Call): PlatformError {
  return new PlatformError("not_found", `No route ${request.method ?? ""} ${url.pathname}`, {
    fix: "see docs/architecture.md for the routes",
  });
}
