// An HTTPS API on loopback in a process of its own: 2 KB of JSON for whoever has the token.
import { once } from "node:events";
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
