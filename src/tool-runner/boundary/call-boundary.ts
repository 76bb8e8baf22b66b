import net, { type AddressInfo, type Socket } from "node:net";
import timers from "node:timers/promises";
import type tls from "node:tls";
import type { Log } from "../../kit/log.ts";
import type { RedactionTable } from "../../kit/redactor.ts";
import { AllowList, type Destination, isPlainAllowed } from "./allow-list.ts";
import { type Authority, parseAbsoluteTarget, parseAuthority } from "./authority.ts";
import type { CallGrant } from "./call-grant.ts";
import { CallUpstreams, type TlsSessions } from "./call-upstreams.ts";
import { type LentSecret, revokedRefusal } from "./credential-rule.ts";
import { exchange, malformed } from "./exchange.ts";
import {
  MalformedMessage,
  parseRequestHead,
  type RequestHead,
  requestFraming,
} from "./http-head.ts";
import {
  type CallLimits,
  HANDSHAKE_MS,
  HEADERS_MS,
  IDLE_MS,
  MAX_HEADER_BYTES,
  REQUEST_MS,
  REVOKE_MS,
} from "./limits.ts";
import { passOpaque } from "./opaque-tunnel.ts";
import { planRequest } from "./plan-request.ts";
import { answerText, Refusal } from "./refusal.ts";
import { type OnRequest, RequestMeter } from "./request-record.ts";
import { budgetOf, Spending } from "./spending.ts";
import { requireStrict } from "./strict-request.ts";
import { interceptTls, startsTls } from "./tunnel.ts";
import { HeadTooLarge, Wire, WireTimeout } from "./wire.ts";

export interface CallServices {
  log: Log;
  onRequest: OnRequest;
  limits: CallLimits;
  contextFor: (host: string) => tls.SecureContext;
  tableFor: (secrets: Buffer[], extraForms: Buffer[]) => RedactionTable;
  sessions: TlsSessions;
}

/**
 * The proxy of one call. Whoever connects to its listener speaks for this call and for nothing else: the connection is the
 * capability, no name and no token is. After disposal there is no listener, no connection and no grant.
 */
export class CallBoundary implements AsyncDisposable {
  readonly #grant: CallGrant;
  readonly #services: CallServices;
  readonly #server: net.Server;
  readonly #allowed: AllowList;
  readonly #upstreams: CallUpstreams;
  readonly #sockets = new Set<Socket>();
  readonly #open = new Set<Promise<void>>();
  readonly #spent: Spending;
  readonly #credentials: ReadonlyMap<string, Spending>;
  readonly #revoked = new AbortController();
  #requests = 0;
  #reported = 0;

  constructor(grant: CallGrant, services: CallServices) {
    const { limits } = services;
    this.#grant = grant;
    this.#services = services;
    this.#allowed = new AllowList(grant.tool, grant.network);
    this.#upstreams = new CallUpstreams(services.sessions);
    this.#spent = new Spending("This call", {
      ...budgetOf(undefined),
      up: limits.allBytesUp,
      down: limits.allBytesDown,
    });
    this.#credentials = new Map(
      grant.credentials.map(({ name, http }) => [
        name,
        new Spending(`Credential "${name}"`, budgetOf(http.budget)),
      ]),
    );
    // Half-open: whoever has sent its request and closed its side still gets the answer.
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.#track(socket);
      this.#run(this.#speak(new Wire(socket), null));
    });
    this.#server.maxConnections = limits.connections;
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
    this.#revoked.abort();
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#upstreams.destroy();
    for (const socket of this.#sockets) socket.destroy();
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

  get #isRevoked(): boolean {
    return this.#revoked.signal.aborted;
  }

  #track(socket: Socket): void {
    if (this.#isRevoked) socket.destroy();
    this.#sockets.add(socket);
    // Stays for its life: it may be in nobody's hands for a moment.
    socket.on("error", () => socket.destroy());
    socket.once("close", () => this.#sockets.delete(socket));
  }

  #run(work: Promise<void>): void {
    const settled = work
      .catch((err: unknown) => this.#services.log.error({ err }, "boundary connection failed"))
      .finally(() => this.#open.delete(settled));
    this.#open.add(settled);
  }

  /** Serves what comes on a connection, one request after the other; `tunnel`: where its CONNECT leads, null at the proxy itself. */
  async #speak(wire: Wire, tunnel: Destination | null): Promise<void> {
    for (;;) {
      const head = await this.#readHead(wire, tunnel);
      if (head === null) return;
      if (head.method === "CONNECT" && tunnel === null) {
        await this.#connect(wire, head);
        return;
      }
      if (!(await this.#serve(wire, head, tunnel))) return;
    }
  }

  /** The next request's head; null when there is none any more, whatever the reason. */
  async #readHead(wire: Wire, tunnel: Destination | null): Promise<RequestHead | null> {
    try {
      const text = await wire.readHead(MAX_HEADER_BYTES, HEADERS_MS, IDLE_MS);
      if (text !== null) return parseRequestHead(text);
      wire.close();
      return null;
    } catch (error) {
      const isBegun = error instanceof WireTimeout && !wire.isQuiet;
      if (!(error instanceof MalformedMessage) && !isBegun) {
        // Nothing was asked, so nothing is said or recorded.
        wire.close();
        return null;
      }
      const status = error instanceof HeadTooLarge ? 431 : error instanceof WireTimeout ? 408 : 400;
      this.#requests += 1;
      const meter = this.#meter("-", tunnel?.authority ?? null, "");
      this.#refuse(malformed(status), meter, wire);
      return null;
    }
  }

  /** Serves one request; true when another may follow on its connection. */
  async #serve(wire: Wire, head: RequestHead, tunnel: Destination | null): Promise<boolean> {
    const absolute = tunnel === null ? parseAbsoluteTarget(head.url) : null;
    const meant = tunnel?.authority ?? this.#allowed.meant(absolute?.authority ?? null);
    const path = tunnel === null ? (absolute?.path ?? "") : head.url;
    const meter = this.#meter(head.method, meant, path);
    this.#requests += 1;
    let lent: LentSecret | null = null;
    try {
      this.#admit();
      const framing = requestFraming(head);
      const to = tunnel ?? this.#allowed.destinationOf(meant);
      // An absolute target is spoken as plain HTTP, so its Host header leaves out port 80, whatever is dialled.
      const defaultPort = tunnel?.isTls === true ? 443 : 80;
      requireStrict(head, path, absolute?.authority ?? to.authority, defaultPort);
      const { limits, tableFor } = this.#services;
      const { credentials, redaction } = this.#grant;
      const plan = await planRequest(head, path, to, credentials, tableFor, redaction);
      lent = plan.lent;
      using _lent = cutOff(lent, wire.socket);
      if (this.#isRevoked) throw ended();
      const credential = this.#credentials.get(plan.credential ?? "");
      const spendings = credential === undefined ? [this.#spent] : [this.#spent, credential];
      using _call = this.#spent.begin();
      using _credential = credential?.begin();
      meter.credential = plan.credential;
      meter.credentialVersion = lent?.version;
      meter.template = plan.template;
      const { isReusable } = await exchange({
        client: wire,
        request: head,
        framing,
        upstream: this.#upstreams.to(to.rule, to.isTls),
        ...plan,
        meter,
        spendings,
        limits: { ...limits, requestMs: REQUEST_MS },
        closes: /(?:^|[\s,])close(?:$|[\s,])/i.test(head.headers["connection"] ?? ""),
      });
      meter.finish(plan.credential === null ? "allowed_without_credential" : "allowed");
      if (!isReusable) wire.close();
      return isReusable;
    } catch (error) {
      const cause = lent?.revoked.aborted === true ? revokedRefusal(meter.credential ?? "") : error;
      this.#refuse(cause instanceof MalformedMessage ? malformed(400) : cause, meter, wire);
      return false;
    }
  }

  async #connect(wire: Wire, head: RequestHead): Promise<void> {
    const authority = parseAuthority(head.url);
    const meter = this.#meter("CONNECT", authority, "");
    try {
      this.#admit();
      const rule = this.#allowed.ruleOf(authority);
      const to = { rule, authority: authority as Authority };
      if (rule.opaque === true) {
        await passOpaque(wire, { ...to, isTls: false }, meter, this.#spent, this.#revoked.signal);
        return;
      }
      // The upstream shakes hands beside us. It is told nothing before a request was found good.
      this.#upstreams.to(rule, !isPlainAllowed(rule)).connectAhead();
      await wire.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      const socket = wire.release() as Socket;
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
      if (spoken !== socket) spoken.once("close", () => socket.destroy());
      await this.#speak(new Wire(spoken), { ...to, isTls });
    } catch (error) {
      this.#requests += 1;
      this.#refuse(error, meter, wire);
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

  /** Answers a request that is not carried out, and closes its connection: nothing that follows on it is looked at. */
  #refuse(error: unknown, meter: RequestMeter, wire: Wire): void {
    // Cut by the revocation or refused after it: the record's credential says whether one had been put in.
    const refusal = this.#isRevoked ? ended() : error instanceof Refusal ? error : fault();
    if (refusal !== error && !this.#isRevoked) {
      this.#services.log.error({ err: error }, "boundary request failed");
    }
    const hasBegun = meter.status !== null;
    if (!this.#isRevoked) meter.status ??= refusal.status;
    meter.finish(refusal.verdict);
    // An answer that has begun is cut off: nobody may take it for whole.
    if (hasBegun) wire.socket.destroy();
    else wire.close(Buffer.from(answerText(refusal)).toString("latin1"));
  }
}

/** Gives a value back when its request is over, and closes the connection of the request when the value is taken back before. */
function cutOff(lent: LentSecret | null, socket: Socket | Wire["socket"]): Disposable {
  const cut = (): void => void socket.destroy();
  if (lent?.revoked.aborted === true) cut();
  lent?.revoked.addEventListener("abort", cut, { once: true });
  return {
    [Symbol.dispose]() {
      lent?.revoked.removeEventListener("abort", cut);
      lent?.[Symbol.dispose]();
    },
  };
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
