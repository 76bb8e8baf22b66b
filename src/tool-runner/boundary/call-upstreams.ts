import type tls from "node:tls";
import type { NetworkRule } from "../../protocol/tool-manifest.ts";
import { dial, type DialTarget } from "./dial.ts";
import { upstreamContext } from "./trust.ts";
import { Wire } from "./wire.ts";

/** How long an upstream connection may be idle before the next request takes a new one. */
const IDLE_MS = 30_000;
const MAX_IDLE = 8;
/** TLS sessions that are kept, of all calls of a run. */
const MAX_SESSIONS = 128;
const SESSION_MS = 10 * 60_000;

/** An upstream connection that one request has for itself. */
export interface Upstream {
  readonly wire: Wire;
  /** it served a request before, so that the other side may have given it up meanwhile */
  readonly isReused: boolean;
}

/**
 * TLS sessions by target, so that a later call's connection shakes hands in one turn. A session resumes only at whoever has its key,
 * the server whose certificate was verified when it was made; it carries nothing of a request.
 */
export class TlsSessions {
  readonly #sessions = new Map<string, { session: Buffer; at: number }>();

  get(key: string): Buffer | undefined {
    const known = this.#sessions.get(key);
    if (known === undefined || performance.now() - known.at > SESSION_MS) return undefined;
    return known.session;
  }

  set(key: string, session: Buffer): void {
    this.#sessions.delete(key);
    const oldest = this.#sessions.keys().next();
    if (this.#sessions.size >= MAX_SESSIONS && oldest.done !== true)
      this.#sessions.delete(oldest.value);
    this.#sessions.set(key, { session, at: performance.now() });
  }
}

/** The upstream connections of one call. None is shared with another call: nothing that one left on it meets another's request. */
export class CallUpstreams {
  readonly #targets = new Map<string, UpstreamTarget>();
  readonly #closing = new AbortController();
  readonly #sessions: TlsSessions;

  constructor(sessions: TlsSessions) {
    this.#sessions = sessions;
  }

  /** The connections to one rule's host and port, in TLS or in the clear. */
  to(rule: NetworkRule, isTls: boolean): UpstreamTarget {
    const key = `${isTls ? "tls" : "tcp"} ${rule.host}:${rule.port ?? 443}`;
    const known = this.#targets.get(key);
    if (known !== undefined) return known;
    const target = new UpstreamTarget(rule, isTls, this.#sessions, this.#closing.signal);
    this.#targets.set(key, target);
    return target;
  }

  /** Ends every connection at once, also those that are being made. */
  destroy(): void {
    this.#closing.abort();
    for (const target of this.#targets.values()) target.destroy();
    this.#targets.clear();
  }
}

/** The connections of one call to one target. */
export class UpstreamTarget {
  readonly host: string;
  readonly port: number;
  readonly #dialled: DialTarget;
  readonly #sessions: TlsSessions;
  readonly #sessionKey: string;
  readonly #closing: AbortSignal;
  readonly #open = new Set<Wire>();
  readonly #idle: { wire: Wire; at: number }[] = [];
  #ahead: Promise<Wire> | null = null;

  constructor(rule: NetworkRule, isTls: boolean, sessions: TlsSessions, closing: AbortSignal) {
    this.host = rule.host;
    this.port = rule.port ?? 443;
    this.#dialled = {
      host: rule.host,
      port: this.port,
      private: rule.private === true,
      address: rule.address,
      secureContext: isTls ? upstreamContext(rule.ca?.inline) : null,
    };
    this.#sessions = sessions;
    // Whoever is trusted for one rule need not be for another.
    this.#sessionKey = JSON.stringify([rule.host, this.port, rule.address, rule.ca?.inline]);
    this.#closing = closing;
  }

  /** Begins to connect before the request is there; its first taker gets the connection, or the failure. */
  connectAhead(): void {
    if (this.#ahead !== null || this.#idle.length > 0 || this.#open.size > 0) return;
    this.#ahead = this.#dial();
    this.#ahead.catch(() => undefined);
  }

  /** A verified connection. Throws a `Refusal`. */
  async take(): Promise<Upstream> {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      // Whatever it said unasked belongs to nobody.
      if (idle.wire.isQuiet && performance.now() - idle.at < IDLE_MS)
        return { wire: idle.wire, isReused: true };
      idle.wire.socket.destroy();
    }
    const ahead = this.#ahead;
    this.#ahead = null;
    if (ahead !== null) {
      const wire = await ahead;
      if (wire.isQuiet) return { wire, isReused: true };
      wire.socket.destroy();
    }
    return { wire: await this.#dial(), isReused: false };
  }

  /** Gives back a connection whose exchange is over, to the last byte. */
  keep(wire: Wire): void {
    if (!wire.isQuiet || this.#idle.length >= MAX_IDLE || this.#closing.aborted)
      wire.socket.destroy();
    else this.#idle.push({ wire, at: performance.now() });
  }

  destroy(): void {
    for (const wire of this.#open) wire.socket.destroy();
  }

  async #dial(): Promise<Wire> {
    const session = this.#sessions.get(this.#sessionKey);
    const socket = await dial({ ...this.#dialled, session }, this.#closing);
    if (this.#dialled.secureContext !== null)
      (socket as tls.TLSSocket).on("session", (made: Buffer) =>
        this.#sessions.set(this.#sessionKey, made),
      );
    const wire = new Wire(socket);
    this.#open.add(wire);
    wire.onClose = () => this.#open.delete(wire);
    if (this.#closing.aborted) socket.destroy();
    return wire;
  }
}
