// The API of the example: HTTPS on a free port of the loopback, with a certificate authority made for this run.
import { createServer } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createHash, timingSafeEqual } from "node:crypto";
// Our own code issues it, so that the example needs no openssl; a real API brings its own.
import { CertificateAuthority } from "../../src/tool-runner/boundary/certificate-authority.ts";

export interface SeenRequest {
  method: string;
  /** path and query, as they came */
  target: string;
  authorized: boolean;
}

export interface GreetingApi extends AsyncDisposable {
  readonly port: number;
  /** Every request so far, and whether it had the right authorization. */
  readonly seen: readonly SeenRequest[];
  /** The certificate that a client has to trust. */
  readonly caPem: string;
}

/** Serves `GET /v1/greeting?name=…` to those who bring `Authorization: Bearer SECRET`. */
export async function openGreetingApi(secret: string): Promise<GreetingApi> {
  const authority = new CertificateAuthority({ name: "agentkube hello" });
  const { certPem, keyPem } = authority.issue("api.hello.internal");
  const seen: SeenRequest[] = [];
  const server = createServer({ key: keyPem, cert: certPem }, (request, response) => {
    const authorized = isSame(request.headers.authorization ?? "", `Bearer ${secret}`);
    seen.push({ method: request.method ?? "", target: request.url ?? "", authorized });
    answer(request, response, authorized);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    caPem: authority.certPem,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function answer(request: IncomingMessage, response: ServerResponse, authorized: boolean): void {
  const url = new URL(request.url ?? "/", "https://api.hello.internal");
  if (!authorized) {
    send(response, 401, { error: "expected Authorization: Bearer with the right token" });
  } else if (url.pathname !== "/v1/greeting") {
    send(response, 404, { error: `nothing at ${url.pathname}` });
  } else {
    const name = url.searchParams.get("name") ?? "stranger";
    // A service that shows what it was sent is a careless one. The boundary masks the secret on the way back.
    send(response, 200, {
      greeting: `Hello, ${name}!`,
      authorization: request.headers.authorization,
    });
  }
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(`${JSON.stringify(body)}\n`);
}

function isSame(given: string, expected: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}
