import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

/** Checks the one token that agents present, in constant time. Keeps a digest only. */
export class AgentToken {
  readonly #digest: Buffer;

  constructor(token: string) {
    this.#digest = digestOf(token);
  }

  /** `Authorization: Bearer …`, for `/mcp` and `/v1`. */
  isBearer(headers: IncomingHttpHeaders): boolean {
    return this.#fits(bearerOf(headers.authorization));
  }

  /** Wherever a model client puts its key: Bearer, `x-api-key` or `x-goog-api-key`. */
  isModelKey(headers: IncomingHttpHeaders): boolean {
    return (
      this.isBearer(headers) ||
      this.#fits(singleOf(headers["x-api-key"])) ||
      this.#fits(singleOf(headers["x-goog-api-key"]))
    );
  }

  /** `Proxy-Authorization: Basic base64(agent:TOKEN)`. */
  isProxyUser(headers: IncomingHttpHeaders): boolean {
    const match = /^Basic +([A-Za-z0-9+/=]{1,1024})$/i.exec(headers["proxy-authorization"] ?? "");
    const [, user, password] =
      /^([^:]*):(.*)$/s.exec(Buffer.from(match?.[1] ?? "", "base64").toString("utf8")) ?? [];
    return user === "agent" && this.#fits(password);
  }

  #fits(given: string | undefined): boolean {
    return timingSafeEqual(digestOf(given ?? ""), this.#digest) && given !== undefined;
  }
}

function bearerOf(header: string | undefined): string | undefined {
  return /^Bearer +(\S{1,1024})$/i.exec(header ?? "")?.[1];
}

function singleOf(header: string | string[] | undefined): string | undefined {
  return typeof header === "string" ? header : undefined;
}

function digestOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
