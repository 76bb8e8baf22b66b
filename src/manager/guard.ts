import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Counters } from "./counters.ts";
import type { Role, Run } from "./run.ts";

const COOKIE_LIFE_S = 7 * 24 * 3600;

/** How the sender of a request proved to be the operator. */
export type OperatorProof = "bearer" | "cookie";

/** Decides who may speak: checks Host, Origin, the operator's token or cookie, and the tokens of a run's roles. */
export class Guard {
  readonly #token: string;
  readonly #counters: Counters;
  readonly #names: readonly string[];
  #port = 0;

  /** `names`: host names besides those of loopback by which requests may come. */
  constructor(token: string, counters: Counters, names: readonly string[] = []) {
    this.#token = token;
    this.#counters = counters;
    this.#names = ["127.0.0.1", "localhost", ...names];
  }

  listensOn(port: number): void {
    this.#port = port;
  }

  /** False for a request that names another host (DNS rebinding) or comes from a foreign page. */
  isOwnOrigin(request: IncomingMessage): boolean {
    const hosts = this.#names.map((name) => `${name}:${this.#port}`);
    const { host, origin } = request.headers;
    const own =
      host !== undefined &&
      hosts.includes(host) &&
      (origin === undefined || origin === `http://${host}`);
    if (!own) this.#counters.foreignOrigins += 1;
    return own;
  }

  /**
   * Null unless the request carries the operator token, or the cookie of a login. A cookie goes along with every request of a browser,
   * so what changes something, and every WebSocket, must name its own origin too.
   */
  operator(request: IncomingMessage): OperatorProof | null {
    const bearer = bearerOf(request);
    if (bearer !== null && isSame(bearer, this.#token)) return "bearer";
    const reads = request.method === "GET" && request.headers.upgrade === undefined;
    if (
      bearer === null &&
      this.#hasCookie(request) &&
      (reads || request.headers.origin !== undefined)
    )
      return "cookie";
    this.#counters.unauthorized += 1;
    return null;
  }

  /** True when the request carries this run's token of the role. The run may be unknown: the answer takes as long. */
  isRole(request: IncomingMessage, run: Run | undefined, role: Role): boolean {
    const token = bearerOf(request) ?? "";
    const expected = run?.record.tokenHashes[role] ?? "0".repeat(64);
    const given = createHash("sha256").update(token).digest();
    const same = timingSafeEqual(given, Buffer.from(expected, "hex"));
    if (same && run !== undefined) return true;
    this.#counters.unauthorized += 1;
    return false;
  }

  /** The Set-Cookie value of a login. The cookie is not the token, and ends by itself. */
  loginCookie(): string {
    const issued = Math.floor(Date.now() / 1000);
    return `${this.#cookieName}=${issued}.${this.#mac(issued)}; HttpOnly; SameSite=Strict; Path=/; Max-Age=${COOKIE_LIFE_S}`;
  }

  // Cookies are shared by all ports of a host: another manager has a name of its own.
  get #cookieName(): string {
    return `agentkube-${this.#port}`;
  }

  #mac(issued: number): string {
    return createHmac("sha256", this.#token).update(`agentkube/page/${issued}`).digest("hex");
  }

  #hasCookie(request: IncomingMessage): boolean {
    for (const pair of (request.headers.cookie ?? "").split(";")) {
      const [name, value = ""] = pair.trim().split("=", 2);
      const match = /^([0-9]{1,12})\.([0-9a-f]{64})$/.exec(value);
      if (name !== this.#cookieName || match === null) continue;
      const issued = Number(match[1]);
      const age = Date.now() / 1000 - issued;
      if (age <= COOKIE_LIFE_S && isSame(match[2] ?? "", this.#mac(issued))) return true;
    }
    return false;
  }
}

function bearerOf(request: IncomingMessage): string | null {
  return /^Bearer ([\x21-\x7e]{1,512})$/.exec(request.headers.authorization ?? "")?.[1] ?? null;
}

/** Compares in a time that depends on neither content nor length. */
function isSame(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}
