import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { randomBytes } from "node:crypto";
import timers from "node:timers/promises";
import type { Log } from "../kit/log.ts";
import { errnoOf, PlatformError } from "../kit/platform-error.ts";
import { PROTOCOL } from "../protocol/version.ts";
import { Adoption, ADOPTION_TIMES, type AdoptionTimes } from "./adoption.ts";
import { handleApi } from "./api.ts";
import { isMetrics } from "./metrics.ts";
import { createCounters } from "./counters.ts";
import { openDataDir, type DataDir } from "./data-dir.ts";
import { Guard } from "./guard.ts";
import { openIdentity } from "./identity.ts";
import { IdleExit, IDLE_TIMES, type IdleTimes } from "./idle-exit.ts";
import { Pods } from "./pods.ts";
import { isPageFile, sendPageFile } from "./page-files.ts";
import { Replays } from "./replays.ts";
import { errorReply, replyJson, urlOf } from "./reply.ts";
import { createFileRunStore } from "./file-run-store.ts";
import { RunnerReports } from "./runner-reports.ts";
import { Runs } from "./runs.ts";
import { Sockets } from "./sockets.ts";
import { type KubernetesApi, TokenReviews } from "./token-review.ts";

const REQUEST_TIMEOUT_MS = 30_000;
const MAX_CONNECTIONS = 8192;
const CLOSE_MS = 1500;

export interface ManagerOptions {
  dataDir: string;
  /** 0: the port of the manager before this one, else any. */
  port: number;
  /** Where it listens; beyond loopback, what names it is known by is checked all the same. */
  listen?: string;
  /** Names besides 127.0.0.1 and localhost that a request may use for it. */
  hosts?: string[];
  /** Ends by itself when no run is live and nobody watches. */
  ephemeral: boolean;
  capBytes: number;
  version: string;
  /** The API server that says whose a projected token is; without one, tokens of pods are known by their hashes. */
  kubernetes?: KubernetesApi | null;
  lockFile: (fd: number) => boolean;
  log: Log;
  /** For tests: shorter waits. */
  adoptionTimes?: AdoptionTimes;
  idleTimes?: IdleTimes;
}

/** A running manager. Disposing it closes every connection and file; the runs go on and connect to the next one. */
export interface Manager extends AsyncDisposable {
  readonly url: string;
  readonly token: string;
  /** Settles when the manager wants to end by itself: idle, or told so. The caller then disposes it. */
  readonly finished: Promise<void>;
}

/** Opens the data directory, takes up its runs and serves them on loopback, or where `listen` says. Throws `PlatformError`. */
export async function openManager(options: ManagerOptions): Promise<Manager> {
  const { log } = options;
  await using stack = new AsyncDisposableStack();
  const dir = stack.use(await openDataDir(options.dataDir, options.lockFile));
  const identity = await openIdentity(dir.path);
  const token = dir.previous?.token ?? randomBytes(32).toString("base64url");
  const counters = createCounters();
  const reports = new RunnerReports();
  const guard = new Guard(token, counters, options.hosts ?? []);
  const runs = new Runs({
    store: createFileRunStore(dir.path, log),
    dataDir: dir.path,
    capBytes: options.capBytes,
    identity,
    log,
  });
  await runs.load();
  stack.defer(async () => await runs.closeFiles());
  stack.use(new Adoption(runs, options.adoptionTimes ?? ADOPTION_TIMES, log));
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS });
  server.maxConnections = MAX_CONNECTIONS;
  stack.defer(async () => await closeServer(server));
  const replays = stack.use(new Replays(log));
  const sockets = stack.use(new Sockets({ runs, guard, counters, reports, replays, log }));
  const idle = stack.use(
    new IdleExit({
      ephemeral: options.ephemeral,
      times: options.idleTimes ?? IDLE_TIMES,
      isBusy: () => runs.live.length > 0 || sockets.viewers > 0,
    }),
  );
  const reviews = options.kubernetes == null ? null : new TokenReviews(options.kubernetes);
  const pods = new Pods(runs, dir.path, reviews);
  const context = {
    runs,
    pods,
    guard,
    counters,
    reports,
    version: options.version,
    replays,
    key: identity.publicKey,
    shutdownIfIdle: () => idle.exitIfIdle(),
  };

  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    answer(request, response).catch((error: unknown) => {
      log.debug({ err: error }, "answer could not be sent");
      response.destroy();
    });
  });
  server.on("upgrade", (request: IncomingMessage, stream: Duplex, head: Buffer) => {
    sockets.upgrade(request, stream, head);
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      if (!guard.isOwnOrigin(request))
        throw new PlatformError("foreign_origin", "Expected the manager's own Host and Origin");
      const url = urlOf(request);
      const head = request.method === "HEAD";
      const boot = /^\/v1\/runs\/([a-z0-9-]{1,63})\/boot$/.exec(url.pathname)?.[1];
      if (boot !== undefined && request.method === "POST")
        return replyJson(response, 200, await pods.boot(request, boot));
      if (isPageFile(url.pathname) && (head || request.method === "GET"))
        return await sendPageFile(response, url.pathname, {
          port: portOf(server),
          hosts: options.hosts ?? [],
          head,
        });
      const proof = guard.operator(request);
      if (proof === null)
        throw new PlatformError("unauthorized", "Expected the operator token", {
          fix: "open the link that agentkube page prints, or send the token of manager.json as Bearer",
        });
      // Who only reads the numbers again and again keeps no manager alive.
      if (!isMetrics(url.pathname)) idle.touch();
      await handleApi(context, { request, response, url, proof });
    } catch (error) {
      const { status, body } = errorReply(error);
      if (status === 500) log.error({ err: error }, "request failed");
      if (response.headersSent) response.destroy();
      else replyJson(response, status, body);
    }
  }

  await listen(server, options, dir, runs.live.length);
  // Registered last, so done first: no new connection meets closing files.
  stack.defer(() => void server.close());
  const port = portOf(server);
  guard.listensOn(port);
  await dir.publish({ protocol: PROTOCOL, pid: process.pid, port, token });
  log.info({ port, live: runs.live.length }, "manager serves");
  const life = stack.move();
  return {
    url: `http://127.0.0.1:${port}`,
    token,
    finished: idle.finished,
    [Symbol.asyncDispose]: async () => await life.disposeAsync(),
  };
}

/** Takes the port that was asked for, else that of the manager before; another one only when no live run depends on it. */
async function listen(
  server: Server,
  { port, listen: address = "127.0.0.1" }: ManagerOptions,
  dir: DataDir,
  liveRuns: number,
): Promise<void> {
  const wanted = port === 0 ? (dir.previous?.port ?? 0) : port;
  try {
    await tryListen(server, address, wanted);
  } catch (error) {
    const isTaken = errnoOf(error) === "EADDRINUSE" || errnoOf(error) === "EACCES";
    if (!isTaken) throw error;
    if (port === 0 && liveRuns === 0) return await tryListen(server, address, 0);
    throw new PlatformError(
      "port_taken",
      `Cannot listen on ${address}:${wanted} (${errnoOf(error) ?? ""})${liveRuns > 0 ? `, which ${liveRuns} live runs connect to` : ""}`,
      {
        fix:
          liveRuns > 0
            ? "end the program that took the port, then start the manager again"
            : "give another port with --port, or none",
        cause: error,
      },
    );
  }
}

async function tryListen(server: Server, host: string, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen({ host, port }, () => resolve());
  await promise.finally(() => server.off("error", reject));
}

/** Waits for the answers on their way; what takes too long is cut, and its client sees the length it did not get. */
async function closeServer(server: Server): Promise<void> {
  server.closeIdleConnections();
  const deadline = performance.now() + CLOSE_MS;
  while (performance.now() < deadline && (await connectionsOf(server)) > 0)
    await timers.setTimeout(20);
  server.closeAllConnections();
}

function connectionsOf(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.getConnections((error, count) => resolve(error === null ? count : 0));
  });
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
