import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Log } from "../../kit/log.ts";
import { type Authority, parseAbsoluteTarget, parseAuthority } from "./authority.ts";
import { dial } from "./dial.ts";
import { forward } from "./forward.ts";
import { requestHeaders } from "./header-rules.ts";
import { Refusal, refuseSocket, replyRefused } from "./refusal.ts";
import { type OnRequest, RequestMeter } from "./request-record.ts";
import { requireStrict } from "./strict-request.ts";
import { UpstreamPool } from "./upstream-pool.ts";

/** HTTP and HTTPS. Anything else (mail, databases, ssh) is not what a coding agent needs of the public internet. */
const PORTS = new Set([80, 443]);
const MAX_OPEN = 256;
/** A tunnel over which nothing goes in either direction. */
const IDLE_MS = 10 * 60_000;
const LIMITS = { bytesUp: 1024 ** 3, bytesDown: 16 * 1024 ** 3, silenceMs: 120_000 };

export interface PublicProxyOptions {
  log: Log;
  onRequest: OnRequest;
}

export interface PublicProxy {
  /** CONNECT host:port */
  connect(req: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** GET http://host/… */
  request(req: IncomingMessage, res: ServerResponse): void;
}

/**
 * The way of zone A to public hosts: ports 80 and 443, every address of a name public, no credential, bytes unread.
 * The caller has checked the agent's token.
 */
export function createPublicProxy({ log, onRequest }: PublicProxyOptions): PublicProxy {
  let open = 0;

  const guarded = async (
    meter: RequestMeter,
    reply: (refusal: Refusal) => void,
    work: () => Promise<void>,
  ): Promise<void> => {
    open += 1;
    try {
      if (open > MAX_OPEN) throw busy();
      await work();
      meter.finish("allowed_without_credential");
    } catch (error) {
      const refusal = error instanceof Refusal ? error : fault();
      if (refusal !== error) log.warn({ err: error }, "public proxy request failed");
      meter.status ??= refusal.status;
      meter.finish(refusal.verdict);
      reply(refusal);
    } finally {
      open -= 1;
    }
  };

  const meterOf = (req: IncomingMessage, authority: Authority | null, path: string) =>
    new RequestMeter(
      {
        call: null,
        source: "agent",
        method: req.method ?? "",
        host: authority === null ? "-" : `${authority.host}:${authority.port}`,
        path,
      },
      onRequest,
    );

  return {
    connect(req, duplex, head) {
      const socket = duplex as Socket;
      socket.on("error", () => socket.destroy());
      const authority = parseAuthority((req.url ?? "").toLowerCase(), { addresses: true });
      const meter = meterOf(req, authority, "");
      const reply = (refusal: Refusal) => refuseSocket(refusal, socket);
      void guarded(meter, reply, async () => {
        const upstream = await dialPublic(requirePort(authority), socket);
        meter.status = 200;
        await tunnel(socket, upstream, head, meter);
      });
    },

    request(req, res) {
      res.on("error", () => res.destroy());
      const absolute = parseAbsoluteTarget(req.url ?? "", { addresses: true });
      const meter = meterOf(req, absolute?.authority ?? null, absolute?.path ?? "");
      const reply = (refusal: Refusal) => replyRefused(refusal, req, res);
      void guarded(meter, reply, async () => {
        const authority = requirePort(absolute?.authority ?? null);
        const target = absolute?.path ?? "/";
        requireStrict(req, target, authority, 80);
        const headers = requestHeaders(req, {
          authority:
            authority.port === 80
              ? bracketed(authority.host)
              : `${bracketed(authority.host)}:${authority.port}`,
          hasCredential: false,
          inject: null,
          isInjected: false,
          scanned: false,
        });
        const pool = new UpstreamPool({ ...authority, private: false, secureContext: null });
        try {
          await forward({
            req,
            res,
            pool,
            target,
            headers,
            table: null,
            dropCookies: false,
            meter,
            limits: LIMITS,
          });
        } finally {
          pool.destroy();
        }
      });
    },
  };
}

async function dialPublic(authority: Authority, client: Socket): Promise<Socket> {
  const gone = new AbortController();
  const onClose = () => gone.abort();
  client.once("close", onClose);
  try {
    return await dial({ ...authority, private: false, secureContext: null }, gone.signal);
  } finally {
    client.off("close", onClose);
  }
}

/** Passes bytes both ways until both sides are done, either fails, or nothing moves for a long time. */
async function tunnel(
  client: Socket,
  upstream: Socket,
  head: Buffer,
  meter: RequestMeter,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let left = 2;
  const closed = () => {
    client.destroy();
    upstream.destroy();
    left -= 1;
    if (left === 0) resolve();
  };
  if (client.destroyed) {
    upstream.destroy();
    return;
  }
  client.once("close", closed);
  upstream.once("close", closed);
  client.setTimeout(IDLE_MS, () => client.destroy());
  client.write("HTTP/1.1 200 Connection Established\r\n\r\n");
  if (head.length > 0) client.unshift(head);
  client.on("data", (chunk: Buffer) => {
    meter.bytesUp += chunk.length;
  });
  upstream.on("data", (chunk: Buffer) => {
    meter.bytesDown += chunk.length;
  });
  client.pipe(upstream);
  upstream.pipe(client);
  await promise;
}

function requirePort(authority: Authority | null): Authority {
  if (authority === null) {
    throw new Refusal(
      400,
      "refused_ambiguous",
      "ambiguous_request",
      "Expected a target as host:port in ASCII, or http://host/…",
    );
  }
  if (PORTS.has(authority.port)) return authority;
  throw new Refusal(
    403,
    "refused_host",
    "port_refused",
    `Port ${authority.port} is not open to the agent; ports 80 and 443 of public hosts are`,
    "use a Tool for other services, or network: host in the Agent",
  );
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

function busy(): Refusal {
  return new Refusal(
    429,
    "refused_rule",
    "too_many_requests",
    `${MAX_OPEN} connections are open already`,
  );
}

function fault(): Refusal {
  return new Refusal(
    502,
    "upstream_failed",
    "proxy_fault",
    "The connection failed in the proxy; see its log",
  );
}
