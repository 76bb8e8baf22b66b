import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http, { type IncomingMessage, type RequestListener } from "node:http";
import https from "node:https";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import { promisify } from "node:util";
import { silentLog } from "../../../src/kit/log.ts";
import type { HttpCredential, NetworkRule } from "../../../src/protocol/tool-manifest.ts";
import { createCallId } from "../../../src/protocol/ids.ts";
import { Boundary, type BoundaryRequest } from "../../../src/tool-runner/boundary/boundary.ts";
import { CertificateAuthority } from "../../../src/tool-runner/boundary/certificate-authority.ts";
import type { CallBoundary } from "../../../src/tool-runner/boundary/call-boundary.ts";
import type { CallLimits } from "../../../src/tool-runner/boundary/limits.ts";

export const SECRET = "ghp_Zx81kQv93LmNbTr7Yw2Pd6Hs";
export const HOST = "api.test";

export interface Answer {
  status: number;
  headers: string;
  body: string;
  /** curl's own exit code: 0 when the exchange was whole */
  code: number;
  stderr: string;
}

export interface WorldOptions {
  handler: RequestListener;
  http?: Partial<HttpCredential>;
  /** null: the tool has no credential */
  credentials?: "one" | "two" | "none";
  rule?: Partial<NetworkRule>;
  plain?: boolean;
  issue?: { host?: string; notAfter?: Date; stranger?: boolean };
  limits?: Partial<CallLimits>;
  secret?: () => Buffer;
}

/** A real upstream with its own certificate authority, a boundary with one open call before it, and real clients. */
export class World implements AsyncDisposable {
  readonly boundary: Boundary;
  readonly call: CallBoundary;
  readonly port: number;
  readonly records: BoundaryRequest[];
  /** what the upstream received, in order */
  readonly received: IncomingMessage[];
  readonly dir: string;
  readonly server: http.Server | https.Server;

  constructor(
    parts: Pick<World, "boundary" | "call" | "port" | "records" | "received" | "dir" | "server">,
  ) {
    this.boundary = parts.boundary;
    this.call = parts.call;
    this.port = parts.port;
    this.records = parts.records;
    this.received = parts.received;
    this.dir = parts.dir;
    this.server = parts.server;
  }

  get origin(): string {
    return `https://${HOST}:${this.port}`;
  }

  async curl(...args: string[]): Promise<Answer> {
    const fixed = ["-sS", "--max-time", "10", "--proxy", `http://127.0.0.1:${this.call.port}`];
    const trust = ["--cacert", join(this.dir, "ca.pem"), "-D", "-", "-w", "\n%{http_code}"];
    return await runCurl([...fixed, ...trust, ...args]);
  }

  /** Opens a CONNECT tunnel by hand and leaves the rest to the test. */
  async connect(authority = `${HOST}:${this.port}`): Promise<net.Socket> {
    const socket = net.connect(this.call.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    await once(socket, "data");
    return socket;
  }

  /** Speaks raw bytes inside the tunnel's TLS and gives all that comes back until the end. */
  async speak(text: string, options: tls.ConnectionOptions = {}): Promise<string> {
    const socket = tls.connect({
      socket: await this.connect(),
      servername: HOST,
      ca: this.boundary.caPem,
      ...options,
    });
    const all = readAll(socket);
    socket.write(text);
    return await all;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.call[Symbol.asyncDispose]();
    this.server.closeAllConnections();
    this.server.close();
    await rm(this.dir, { recursive: true, force: true });
  }
}

export async function openWorld(options: WorldOptions): Promise<World> {
  const received: IncomingMessage[] = [];
  const records: BoundaryRequest[] = [];
  const authority = new CertificateAuthority({ name: "test upstream" });
  const stranger = new CertificateAuthority({ name: "stranger" });
  const signer = options.issue?.stranger === true ? stranger : authority;
  const { certPem, keyPem } = signer.issue(options.issue?.host ?? HOST, {
    notBefore: new Date(0),
    notAfter: options.issue?.notAfter ?? new Date(Date.now() + 3_600_000),
  });
  const listener: RequestListener = (req, res) => {
    received.push(req);
    options.handler(req, res);
  };
  const server =
    options.plain === true
      ? http.createServer(listener)
      : https.createServer({ cert: certPem, key: keyPem }, listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const boundary = new Boundary({
    run: "test-run",
    log: silentLog,
    onRequest: (record) => records.push(record),
    hosts: [HOST],
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  });
  const rule: NetworkRule = {
    host: HOST,
    port,
    private: true,
    address: "127.0.0.1",
    ...(options.plain === true ? {} : { ca: { inline: authority.certPem } }),
    ...options.rule,
  };
  const credential = (name: string) => ({
    name,
    http: {
      hosts: [`${HOST}:${port}`],
      methods: ["GET", "POST"],
      paths: ["/bound/"],
      header: "Authorization",
      format: "Bearer {{secret}}",
      ...options.http,
    } as HttpCredential,
    secret: options.secret ?? (() => Buffer.from(SECRET)),
  });
  const names = { one: ["github"], two: ["github", "other"], none: [] }[
    options.credentials ?? "one"
  ];
  const call = await boundary.openCall(
    { call: createCallId(), tool: "probe", network: [rule], credentials: names.map(credential) },
    { port: 0 },
  );
  const dir = await mkdtemp(join(tmpdir(), "boundary-"));
  await writeFile(join(dir, "ca.pem"), boundary.caPem);
  return new World({ boundary, call, port, records, received, dir, server });
}

export async function runCurl(args: string[]): Promise<Answer> {
  const { code, stdout, stderr } = await promisify(execFile)("curl", args, {
    encoding: "latin1",
    env: { PATH: process.env["PATH"] ?? "" },
    maxBuffer: 64 * 1024 * 1024,
  }).then(
    (result) => ({ code: 0, ...result }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
  const status = Number(/(\d+)$/.exec(stdout)?.[1] ?? 0);
  const text = stdout
    .replace(/\n\d+$/, "")
    .replace(/^HTTP\/1\.1 200 Connection Established\r\n\r\n/, "");
  const split = text.indexOf("\r\n\r\n");
  return {
    status,
    headers: split === -1 ? "" : text.slice(0, split),
    body: split === -1 ? text : text.slice(split + 4),
    code,
    stderr,
  };
}

export async function readAll(socket: net.Socket): Promise<string> {
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  socket.on("error", () => {});
  const { promise, resolve } = Promise.withResolvers<void>();
  if (socket.closed) resolve();
  else socket.once("close", () => resolve());
  await promise;
  return text;
}
