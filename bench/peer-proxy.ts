// Another project's intercepting proxy in a process of its own, set up to put the same credential into the same request.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo, LookupFunction } from "node:net";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { answer } from "./forked.ts";

export interface PeerQuestion {
  peer: "sandbox-runtime" | "mockttp";
  /** where its package lies */
  dir: string;
  upstream: { port: number; caPem: string };
  token: string;
}

export interface PeerAnswer {
  port: number;
  caPem: string;
}

/** What of sandbox-runtime is used. */
interface SandboxRuntime {
  createMitmCA(options: object): { certPath: string };
  createHttpProxyServer(options: object): Server;
}

/** What of mockttp is used. */
interface Mockttp {
  generateCACertificate(): Promise<{ cert: string; key: string }>;
  getLocal(options: object): {
    start(): Promise<void>;
    port: number;
    forAnyRequest(): { thenPassThrough(options: object): Promise<void> };
  };
}

answer(({ peer, dir, upstream, token }: PeerQuestion): Promise<PeerAnswer> => {
  const authorization = `Bearer ${token}`;
  return peer === "mockttp"
    ? viaMockttp(dir, upstream.caPem, authorization)
    : viaSandboxRuntime(dir, upstream.caPem, authorization);
});

async function viaSandboxRuntime(
  dir: string,
  caPem: string,
  authorization: string,
): Promise<PeerAnswer> {
  const load = (name: string) =>
    import(pathToFileURL(path.join(dir, "dist/sandbox", name)).href) as Promise<SandboxRuntime>;
  const mitmCA = (await load("mitm-ca.js")).createMitmCA({});
  const toLoopback: LookupFunction = (_host, options, callback) => {
    const found = { address: "127.0.0.1", family: 4 };
    if (options.all === true) callback(null, [found]);
    else callback(null, found.address, found.family);
  };
  const server = (await load("http-proxy.js")).createHttpProxyServer({
    filter: () => true,
    mitmCA,
    mutateHeaders: (headers: Record<string, string>) => {
      headers["authorization"] = authorization;
    },
    tlsTerminateUpstreamCA: [caPem],
    lookupFor: () => toLoopback,
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    caPem: readFileSync(mitmCA.certPath, "utf8"),
  };
}

async function viaMockttp(dir: string, caPem: string, authorization: string): Promise<PeerAnswer> {
  const { default: mockttp } = (await import(
    pathToFileURL(path.join(dir, "dist/main.js")).href
  )) as { default: Mockttp };
  const https = await mockttp.generateCACertificate();
  const server = mockttp.getLocal({ https, recordTraffic: false });
  await server.start();
  await server.forAnyRequest().thenPassThrough({
    transformRequest: { updateHeaders: { authorization } },
    additionalTrustedCAs: [{ cert: caPem }],
  });
  return { port: server.port, caPem: https.cert };
}
