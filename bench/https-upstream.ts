// An HTTPS API on loopback in a process of its own: 2 KB of JSON for whoever has the token, and events that say when they were sent.
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { CertificateAuthority } from "../src/tool-runner/boundary/certificate-authority.ts";
import { answer } from "./forked.ts";

export interface UpstreamQuestion {
  host: string;
  token: string;
}

export interface UpstreamAnswer {
  port: number;
  caPem: string;
}

const EVENT_EVERY_MS = 3;
const items = Array.from({ length: 20 }, (_, id) => ({
  id,
  title: `Item ${id} of a list that an API gives`,
  state: "open",
  url: `https://api.example.com/items/${id}`,
}));
const body = Buffer.from(JSON.stringify({ items }));

answer(async ({ host, token }: UpstreamQuestion): Promise<UpstreamAnswer> => {
  const authority = new CertificateAuthority({ name: "bench upstream" });
  const { certPem, keyPem } = authority.issue(host);
  const server = https.createServer({ cert: certPem, key: keyPem }, (request, response) => {
    const isKnown = request.headers.authorization === `Bearer ${token}`;
    if (isKnown && request.url === "/v1/events") return sendEvents(response);
    response.writeHead(isKnown ? 200 : 401, {
      "content-type": "application/json",
      "content-length": body.length,
    });
    response.end(body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: (server.address() as AddressInfo).port, caPem: authority.certPem };
});

/** Until the connection is closed. The clock is the machine's, the same in every process. */
function sendEvents(response: ServerResponse): void {
  response.writeHead(200, { "content-type": "text/event-stream" });
  const timer = setInterval(
    () => response.write(`data: {"sent":"${process.hrtime.bigint()}"}\n\n`),
    EVENT_EVERY_MS,
  );
  response.once("close", () => clearInterval(timer));
}
