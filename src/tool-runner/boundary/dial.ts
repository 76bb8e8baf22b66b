import { lookup } from "node:dns/promises";
import net, { isIP } from "node:net";
import tls from "node:tls";
import { errnoOf } from "../../kit/platform-error.ts";
import { kindOfAddress } from "./public-address.ts";
import { Refusal } from "./refusal.ts";

/** From the name to a verified connection. */
const DIAL_MS = 10_000;
/** How long one of several addresses may take before the next is tried. */
const ADDRESS_MS = 3000;
/** How many addresses of a name are tried. */
const MAX_ADDRESSES = 4;

export interface DialTarget {
  readonly host: string;
  readonly port: number;
  /** loopback and private addresses may be dialled */
  readonly private: boolean;
  /** dialled instead of what DNS says */
  readonly address?: string | undefined;
  /** null for plain TCP */
  readonly secureContext: tls.SecureContext | null;
  readonly session?: Buffer | undefined;
}

/**
 * Connects to a target: resolves its name once, refuses it unless every address is one it may have, dials one of those addresses,
 * and resolves only after chain and name of its certificate were verified, so that nothing is ever said to a stranger.
 */
export async function dial(target: DialTarget, signal: AbortSignal): Promise<net.Socket> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(DIAL_MS)]);
  const addresses = (await vettedAddresses(target, deadline)).slice(0, MAX_ADDRESSES);
  for (const [index, address] of addresses.entries()) {
    const isLast = index === addresses.length - 1;
    const patience = isLast
      ? deadline
      : AbortSignal.any([deadline, AbortSignal.timeout(ADDRESS_MS)]);
    try {
      return await connect(target, address, patience);
    } catch (error) {
      signal.throwIfAborted();
      if (isLast || deadline.aborted || errnoOf(error)?.startsWith("E") !== true) {
        throw refusalOf(target, error);
      }
    }
  }
  throw unresolved(target);
}

/** The addresses of a target, from one look-up. Throws a `Refusal` when any of them is not for it to reach. */
export async function vettedAddresses(
  target: Pick<DialTarget, "host" | "port" | "private" | "address">,
  signal: AbortSignal,
): Promise<string[]> {
  const given = target.address ?? (isIP(target.host) === 0 ? undefined : target.host);
  const addresses = given === undefined ? await resolveName(target, signal) : [given];
  for (const address of addresses) {
    const kind = kindOfAddress(address);
    if (kind === "public" || (kind === "private" && target.private)) continue;
    throw new Refusal(
      403,
      "refused_address",
      "address_refused",
      `Host ${target.host} leads to ${kind === "private" ? "a private" : "a reserved or link-local"} address`,
      kind === "private"
        ? "a tool's network rule may say private: true for a host of your own"
        : undefined,
    );
  }
  return addresses;
}

async function resolveName(
  target: Pick<DialTarget, "host" | "port">,
  signal: AbortSignal,
): Promise<string[]> {
  try {
    const found = await abortable(lookup(target.host, { all: true, order: "verbatim" }), signal);
    if (found.length > 0) return found.map(({ address }) => address);
  } catch {
    // The resolver's own text adds nothing for the sender.
  }
  throw unresolved(target);
}

function connect(target: DialTarget, address: string, signal: AbortSignal): Promise<net.Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<net.Socket>();
  const { host, port, secureContext, session } = target;
  const socket =
    secureContext === null
      ? net.connect({ host: address, port, noDelay: true })
      : tls.connect({
          host: address,
          port,
          secureContext,
          ALPNProtocols: ["http/1.1"],
          // Explicit, so that no environment variable can switch it off.
          rejectUnauthorized: true,
          minVersion: "TLSv1.2",
          ...(isIP(host) === 0 ? { servername: host } : {}),
          ...(session === undefined ? {} : { session }),
        });
  const onAbort = () => socket.destroy(new TimeoutError());
  const settled = () => signal.removeEventListener("abort", onAbort);
  socket.once(secureContext === null ? "connect" : "secureConnect", () => {
    settled();
    if (socket instanceof tls.TLSSocket) socket.setNoDelay(true);
    resolve(socket);
  });
  // Stays for the socket's life: whoever uses it hears of its end by "close".
  socket.on("error", (error) => {
    settled();
    reject(error);
  });
  socket.once("close", () => {
    settled();
    reject(new TimeoutError());
  });
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort);
  return promise;
}

class TimeoutError extends Error {
  readonly code = "ETIMEDOUT";
}

async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort);
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function refusalOf(target: DialTarget, error: unknown): Refusal {
  const where = `${target.host}:${target.port}`;
  const code = errnoOf(error) ?? "";
  if (code === "ETIMEDOUT") {
    return new Refusal(
      504,
      "upstream_failed",
      "upstream_timeout",
      `${where} did not answer in time`,
    );
  }
  if (/^E[A-Z]+$/.test(code) && !code.startsWith("EPROTO")) {
    return new Refusal(
      502,
      "upstream_failed",
      "upstream_unreachable",
      `${where} cannot be reached (${code})`,
    );
  }
  const reason = /^[A-Z][A-Z0-9_]{2,60}$/.test(code) ? code : "TLS";
  return new Refusal(
    502,
    "upstream_failed",
    "upstream_certificate",
    `No verified TLS connection to ${where} (${reason}); nothing was sent`,
    "if the host has a certificate authority of its own, name it as ca in the rule",
  );
}

function unresolved(target: Pick<DialTarget, "host">): Refusal {
  return new Refusal(
    502,
    "upstream_failed",
    "upstream_unresolved",
    `Host ${target.host} has no address`,
  );
}
