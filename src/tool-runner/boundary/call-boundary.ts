import http, { type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import timers from "node:timers/promises";
import type tls from "node:tls";
import type { Duplex } from "node:stream";
import { errnoOf } from "../../kit/platform-error.ts";
import type { Log } from "../../kit/log.ts";
import type { RedactionTable } from "../../kit/redactor.ts";
import { AllowList, type Destination, isPlainAllowed } from "./allow-list.ts";
import { type Authority, parseAbsoluteTarget, parseAuthority } from "./authority.ts";
import type { CallGrant } from "./call-grant.ts";
import { CallUpstreams } from "./call-upstreams.ts";
import { forward } from "./forward.ts";
import {
  type CallLimits,
  HANDSHAKE_MS,
  HEADERS_MS,
  IDLE_MS,
  MAX_HEADER_BYTES,
  REQUEST_MS,
  REVOKE_MS,
} from "./limits.ts";
import { Refusal, refuseSocket, replyRefused } from "./refusal.ts";
import { type OnRequest, RequestMeter } from "./request-record.ts";
import { planRequest } from "./plan-request.ts";
import { requireStrict } from "./strict-request.ts";
import { interceptTls, startsTls } from "./tunnel.ts";

export interface CallServices {
  log: Log;
  onRequest: OnRequest;
  limits: CallLimits;
  contextFor: (host: string) => tls.SecureContext;
  tableFor: (secrets: Buffer[], extraForms: Buffer[]) => RedactionTable;
}

/**
 * The proxy of one call. Whoever connects to its listener speaks for this call and for nothing else: the connection is the
 * capability, no name and no token is. After disposal there is no listener, no connection and no grant.
 */
export class CallBoundary implements AsyncDisposable {
  readonly #grant: CallGrant;
  readonly #services: CallServices;
  readonly #server: http.Server;
  readonly #allowed: AllowList;
  readonly #upstreams = new CallUpstreams();
  readonly #sockets = new Set<Duplex>();
  readonly #tunnels = new WeakMap<Duplex, Destination>();
  readonly #open = new Set<Promise<void>>();
  #requests = 0;
  #reported = 0;
  #isRevoked = false;

  constructor(grant: CallGrant, services: CallServices) {
    this.#grant = grant;
    this.#services = services;
    this.#allowed = new AllowList(grant.tool, grant.network);
    this.#server = http.createServer({
      insecureHTTPParser: false,
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: HEADERS_MS,
      requestTimeout: REQUEST_MS,
      keepAliveTimeout: IDLE_MS,
      connectionsCheckingInterval: 5000,
      requireHostHeader: false, // requireStrict() answers with a reason
    });
    this.#server.maxConnections = services.limits.connections;
    this.#server.on("connection", (socket) => this.#track(socket));
    this.#server.on("request", (req, res) => this.#run(this.#serve(req, res)));
    this.#server.on("connect", (req, socket, head) => {
      this.#run(this.#connect(req, socket as Socket, head));
    });
    this.#server.on("clientError", (error, socket) => this.#refuseGarbage(error, socket));
  }

  /** Takes over a listening descriptor; a port of loopback instead is for tests and measurements. */
  async listen(listener: number | { port: number }): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", reject);
    const where =
      typeof listener === "number" ? { fd: listener } : { ...listener, host: "127.0.0.1" };
    this.#server.listen(where, resolve);
    await promise;
    this.#server.off("error", reject);
    this.#server.on("error", (err) => this.#services.log.warn({ err }, "boundary listener failed"));
  }

  /** The port it listens on. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Revokes the grant: at once no connection is left. Resolves when every request was reported. Safe to call twice. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isRevoked = true;
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#upstreams.destroy();
    for (const socket of this.#sockets) socket.destroy();
    this.#server.closeAllConnections();
    const done = Promise.all([closed, ...this.#open]).then(() => true);
    const abort = new AbortController();
    const late = timers.setTimeout(REVOKE_MS, false, { signal: abort.signal }).catch(() => true);
    if (!(await Promise.race([done, late]))) {
      this.#services.log.error(
        { open: this.#open.size },
        "requests outlived the revocation of their call",
      );
    }
    abort.abort();
  }

  #track(socket: Duplex): void {
    if (this.#isRevoked) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("close", () => this.#sockets.delete(socket));
  }

  #run(work: Promise<void>): void {
    const settled = work
      .catch((err: unknown) => this.#services.log.error({ err }, "boundary request failed"))
      .finally(() => this.#open.delete(settled));
    this.#open.add(settled);
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    res.on("error", () => res.destroy());
    const tunnel = this.#tunnels.get(req.socket);
    const absolute = tunnel === undefined ? parseAbsoluteTarget(req.url ?? "") : null;
    const meant = tunnel?.authority ?? this.#allowed.meant(absolute?.authority ?? null);
    const path = tunnel === undefined ? (absolute?.path ?? "") : (req.url ?? "");
    const meter = this.#meter(req.method ?? "", meant, path);
    this.#requests += 1;
    try {
      this.#admit();
      const target = tunnel ?? this.#allowed.destinationOf(meant);
      // An absolute target is spoken as plain HTTP, so its Host header leaves out port 80, whatever is dialled.
      const defaultPort = tunnel?.isTls === true ? 443 : 80;
      requireStrict(req, path, absolute?.authority ?? target.authority, defaultPort);
      const plan = planRequest(req, path, target, this.#grant.credentials, this.#services.tableFor);
      meter.credential = plan.credential;
      const pool = this.#upstreams.poolFor(target.rule, target.isTls);
      await forward({ req, res, pool, ...plan, meter, limits: this.#services.limits });
      meter.finish(plan.credential === null ? "allowed_without_credential" : "allowed");
    } catch (error) {
      this.#refuse(error, meter, (refusal) => replyRefused(refusal, req, res));
    }
  }

  async #connect(req: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
    const authority = parseAuthority(req.url ?? "");
    const meter = this.#meter("CONNECT", authority, "");
    // Bare from here on: Node has taken its own listeners off.
    socket.on("error", () => socket.destroy());
    try {
      if (this.#tunnels.has(req.socket)) {
        throw new Refusal(405, "refused_rule", "method_refused", "Method CONNECT is not forwarded");
      }
      this.#admit();
      const rule = this.#allowed.ruleOf(authority);
      const tunnel = { rule, authority: authority as Authority };
      socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      if (head.length > 0) socket.unshift(head);
      const isTls = await startsTls(socket, HANDSHAKE_MS);
      if (!isTls && !isPlainAllowed(rule)) {
        throw new Refusal(
          400,
          "refused_rule",
          "not_tls",
          `Expected TLS inside CONNECT to ${rule.host}`,
        );
      }
      const spoken = isTls
        ? await interceptTls(socket, rule.host, this.#services.contextFor(rule.host), HANDSHAKE_MS)
        : socket;
      if (this.#isRevoked) throw ended();
      this.#tunnels.set(spoken, { ...tunnel, isTls });
      this.#server.emit("connection", spoken);
    } catch (error) {
      this.#requests += 1;
      this.#refuse(error, meter, (refusal) => refuseSocket(refusal, socket));
    }
  }

  #admit(): void {
    if (this.#isRevoked) throw ended();
    if (this.#requests > this.#services.limits.requests) {
      throw new Refusal(
        429,
        "refused_rule",
        "too_many_requests",
        `This call has made its ${this.#services.limits.requests} requests`,
      );
    }
  }

  #meter(method: string, authority: Authority | null, path: string): RequestMeter {
    const host = authority === null ? "-" : `${authority.host}:${authority.port}`;
    return new RequestMeter(
      { call: this.#grant.call, source: "tool", method, host, path },
      (record) => {
        this.#reported += 1;
        // One record beyond the cap says that it was reached; a flood behind it writes nothing.
        if (this.#reported <= this.#services.limits.requests + 1) this.#services.onRequest(record);
      },
    );
  }

  #refuse(error: unknown, meter: RequestMeter, reply: (refusal: Refusal) => void): void {
    // Cut by the revocation or refused after it: the record's credential says whether one had been put in.
    const refusal = this.#isRevoked ? ended() : error instanceof Refusal ? error : fault();
    if (refusal !== error && !this.#isRevoked) {
      this.#services.log.error({ err: error }, "boundary request failed");
    }
    if (!this.#isRevoked) meter.status ??= refusal.status;
    meter.finish(refusal.verdict);
    reply(refusal);
  }

  /** Bytes that the strict parser does not take for HTTP (smuggled framing, HTTP/2, too many headers), or none in time. */
  #refuseGarbage(error: Error, socket: Duplex): void {
    this.#requests += 1;
    const meter = this.#meter("-", this.#tunnels.get(socket)?.authority ?? null, "");
    const code = errnoOf(error);
    const status = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }[code ?? ""] ?? 400;
    const refusal = new Refusal(
      status,
      "refused_ambiguous",
      "malformed_request",
      `Expected one well-formed HTTP/1.1 request with at most ${MAX_HEADER_BYTES / 1024} KiB of headers, in time`,
    );
    this.#refuse(refusal, meter, (each) => refuseSocket(each, socket as Socket));
  }
}

function fault(): Refusal {
  return new Refusal(
    500,
    "upstream_failed",
    "boundary_fault",
    "The request failed in the boundary; see its log",
  );
}

function ended(): Refusal {
  return new Refusal(
    403,
    "refused_ended",
    "call_ended",
    "The call has ended; its grant is revoked",
  );
}
