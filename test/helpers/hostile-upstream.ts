// An upstream that does what a hostile or careless server does with the credential it is sent: gives it back in every form and at
// every place, redirects, breaks the protocol, never ends. It writes bytes, not HTTP, so that nothing tidies them.
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import tls from "node:tls";
import zlib from "node:zlib";
import { CertificateAuthority } from "../../src/tool-runner/boundary/certificate-authority.ts";
import { formsOf } from "./secret-forms.ts";

export const UPSTREAM_HOST = "api.hostile.internal";

export interface HostileRequest {
  method: string;
  target: string;
  /** field lines as they came */
  lines: string[];
  /** number of the connection, from 1 */
  connection: number;
  body: string;
}

export interface HostileUpstream extends AsyncDisposable {
  readonly port: number;
  readonly caPem: string;
  readonly received: HostileRequest[];
  /** connections that are open now */
  readonly open: number;
}

type Answer = (request: HostileRequest, secret: string) => (Buffer | string)[];

const BIG = Buffer.alloc(64 * 1024, "x");

/** What it answers by the third segment of the path; each piece is one TLS record. */
const ANSWERS: Record<string, Answer> = {
  ok: () => [whole("fine")],
  headers: ({ lines }) => [whole(JSON.stringify(lines), "Content-Type: application/json")],
  denied: ({ lines }) => [whole(`<pre>${lines.join("\n")}</pre>`, "", "401 Unauthorized")],
  form: ({ target }, secret) => [
    whole(formsOf(Buffer.from(secret, "latin1"))[argument(target)]?.bytes ?? "none"),
  ],
  splits: (_, secret) => [
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    ...Array.from({ length: secret.length - 1 }, (__, at) => [
      chunk(`data: ${secret.slice(0, at + 1)}`),
      chunk(`${secret.slice(at + 1)}\n\n`),
    ]).flat(),
    "0\r\n\r\n",
  ],
  segments: (_, secret) => {
    const text = `HTTP/1.1 200 OK\r\nX-Echo: ${secret}\r\nContent-Length: ${secret.length}\r\n\r\n${secret}`;
    return Array.from(text);
  },
  coded: ({ target }, secret) => {
    const coding = target.split("/").at(-1) ?? "";
    const body = Buffer.from(`you sent ${secret}!`, "latin1");
    const coded = {
      gzip: () => zlib.gzipSync(body),
      deflate: () => zlib.deflateSync(body),
      br: () => zlib.brotliCompressSync(body),
      zstd: () => zlib.zstdCompressSync(body),
      "x-foo": () => body,
      "gzip, br": () => body,
    }[decodeURIComponent(coding)];
    return [whole(coded?.() ?? body, `Content-Encoding: ${decodeURIComponent(coding)}`)];
  },
  places: (_, secret) => [
    `HTTP/1.1 103 Early ${secret}\r\nLink: <${secret}>\r\n\r\n`,
    `HTTP/1.1 302 Found ${secret}\r\nLocation: https://evil.example/?t=${secret}\r\nSet-Cookie: s=${secret}\r\n` +
      `X-${token(secret)}: name\r\nWWW-Authenticate: Bearer realm="${secret}"\r\nTrailer: X-Late\r\nTransfer-Encoding: chunked\r\n\r\n` +
      `1\r\nx\r\n0\r\nX-Late: ${secret}\r\nX-${token(secret)}: y\r\n\r\n`,
  ],
  redirect: ({ target }) => {
    const to = Buffer.from(target.split("/").at(-1) ?? "", "hex").toString();
    return [whole("", `Location: ${to}`, "307 Temporary Redirect")];
  },
  part: ({ lines }, secret) => {
    const range = /^range: bytes=(\d+)-(\d+)/im.exec(lines.join("\n"));
    if (range === null) return [whole(secret)];
    return [whole(secret.slice(Number(range[1]), Number(range[2]) + 1), "", "206 Partial Content")];
  },
  piece: ({ target }, secret) => [whole(secret.slice(argument(target), argument(target) + 20))],
  reason: () => [
    'HTTP/1.1 200 OK\u001b[31m"}\\n,{"forged":1}\r\nX-Log: a\u001b[2J\r\nContent-Length: 2\r\n\r\nok',
  ],
  garbage: (_, secret) => [`SSH-2.0-${secret}\r\nno http at all\r\n\r\n`],
  both: (_, secret) => [
    `HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${secret}`,
  ],
  twolengths: (_, secret) => [
    `HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 40\r\n\r\n${secret.padEnd(40)}`,
  ],
  badchunk: (_, secret) => [
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n${secret}\r\n`,
  ],
  folded: (_, secret) => [whole("x", `X-A: a\r\n ${secret}`)],
  hugehead: () => [`HTTP/1.1 200 OK\r\nX-Big: ${"a".repeat(200_000)}\r\n\r\n`],
  extra: (_, secret) => [
    `${whole("fine").toString()}HTTP/1.1 200 OK\r\nContent-Length: ${secret.length}\r\n\r\n${secret}`,
  ],
  switch: (_, secret) => [
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n${secret}`,
  ],
  half: (_, secret) => [`HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n${secret}`, "END"],
  mute: () => [],
  endless: () => ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "ENDLESS"],
  drip: () => ["HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "DRIP"],
};

/** Opens it on the loopback. */
export async function openHostileUpstream(): Promise<HostileUpstream> {
  const authority = new CertificateAuthority({ name: "hostile upstream" });
  const { certPem, keyPem } = authority.issue(UPSTREAM_HOST);
  const received: HostileRequest[] = [];
  const sockets = new Set<tls.TLSSocket>();
  let connections = 0;
  const server = tls.createServer({ cert: certPem, key: keyPem }, (socket) => {
    const connection = ++connections;
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => socket.destroy()).once("close", () => sockets.delete(socket));
    let held = "";
    socket.on("data", (bytes: Buffer) => {
      held += bytes.toString("latin1");
      for (let next = takeRequest(held); next !== null; next = takeRequest(held)) {
        held = next.rest;
        const request = { ...next.request, connection };
        received.push(request);
        const name = request.target.split("?")[0]?.split("/")[2] ?? "";
        const answer = Object.hasOwn(ANSWERS, name) ? ANSWERS[name] : undefined;
        send(socket, answer?.(request, secretOf(request)) ?? [whole("none", "", "404 Not Found")]);
      }
    });
  });
  server.on("tlsClientError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    caPem: authority.certPem,
    received,
    get open() {
      return sockets.size;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The credential that a request carries, as header, basic or query. */
function secretOf({ lines, target }: HostileRequest): string {
  const line = lines.find((each) => /^authorization: /i.test(each)) ?? "";
  const [, scheme = "", value = ""] = /^authorization: (\S+) (.*)$/i.exec(line) ?? [];
  if (scheme === "Bearer") return value;
  if (scheme === "Basic")
    return Buffer.from(value, "base64")
      .toString("latin1")
      .replace(/^[^:]*:/, "");
  const field = /[?&]key=([^&]*)/.exec(target)?.[1];
  return field === undefined ? "none-was-sent" : decodeURIComponent(field);
}

function takeRequest(
  text: string,
): { request: Omit<HostileRequest, "connection">; rest: string } | null {
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return null;
  const [first = "", ...lines] = text.slice(0, end).split("\r\n");
  const [method = "", target = ""] = first.split(" ");
  const length = Number(/^content-length: (\d+)/im.exec(lines.join("\n"))?.[1] ?? 0);
  const isChunked = lines.some((line) => /^transfer-encoding: chunked/i.test(line));
  const bodyEnd = isChunked ? text.indexOf("0\r\n\r\n", end + 4) + 5 : end + 4 + length;
  if (bodyEnd < end + 4 || text.length < bodyEnd) return null;
  return {
    request: { method, target, lines, body: text.slice(end + 4, bodyEnd) },
    rest: text.slice(bodyEnd),
  };
}

/** Piece by piece, each in a turn of its own. Three words stand for what cannot be written down whole. */
function send(socket: tls.TLSSocket, pieces: (Buffer | string)[]): void {
  const [piece, ...rest] = pieces;
  if (piece === undefined || socket.destroyed) return;
  if (piece === "END") socket.destroy();
  else if (piece === "ENDLESS") flood(socket);
  else if (piece === "DRIP") setTimeout(() => send(socket, ["x", "DRIP"]), 100);
  else socket.write(piece, "latin1", () => setImmediate(() => send(socket, rest)));
}

function flood(socket: tls.TLSSocket): void {
  while (!socket.destroyed && socket.write(chunk(BIG)));
  socket.once("drain", () => flood(socket));
}

function whole(body: Buffer | string, fields = "", status = "200 OK"): Buffer {
  const bytes = typeof body === "string" ? Buffer.from(body, "latin1") : body;
  const head = `HTTP/1.1 ${status}\r\n${fields === "" ? "" : `${fields}\r\n`}Content-Length: ${bytes.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head, "latin1"), bytes]);
}

function chunk(body: Buffer | string): Buffer {
  const bytes = typeof body === "string" ? Buffer.from(body, "latin1") : body;
  return Buffer.concat([
    Buffer.from(`${bytes.length.toString(16)}\r\n`),
    bytes,
    Buffer.from("\r\n"),
  ]);
}

function argument(target: string): number {
  return Number(target.split("?")[0]?.split("/").at(-1) ?? 0);
}

/** What of a secret may stand in a field's name. */
function token(secret: string): string {
  return secret.replaceAll(/[^A-Za-z0-9_-]/g, "");
}
