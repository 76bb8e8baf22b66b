import assert from "node:assert/strict";
import http from "node:http";
import { duplexPair, Readable } from "node:stream";
import zlib from "node:zlib";
import { parseAbsoluteTarget, parseAuthority } from "../../src/tool-runner/boundary/authority.ts";
import { decodeBody } from "../../src/tool-runner/boundary/decode-body.ts";
import { BodyReader } from "../../src/tool-runner/boundary/http-body.ts";
import {
  type Framing,
  MalformedMessage,
  parseRequestHead,
  parseResponseHead,
  type RequestHead,
  requestFraming,
  responseFraming,
} from "../../src/tool-runner/boundary/http-head.ts";
import { Refusal } from "../../src/tool-runner/boundary/refusal.ts";
import {
  requireStrict,
  requireUnambiguous,
} from "../../src/tool-runner/boundary/strict-request.ts";
import type { FuzzTarget } from "./target.ts";

const text = (...lines: string[]) => Buffer.from(lines.join("\r\n"), "latin1");

/** What it gives; null when it refuses in the way it is meant to. */
function orNull<T>(work: () => T): T | null {
  try {
    return work();
  } catch (error) {
    if (error instanceof MalformedMessage || error instanceof Refusal) return null;
    throw error;
  }
}

/** What Node's parser makes of a head, or null. */
async function asNodeReads(head: string): Promise<http.IncomingMessage | null> {
  const [near, far] = duplexPair();
  const server = http.createServer({ requireHostHeader: false, maxHeaderSize: 1 << 20 });
  server.maxHeadersCount = 0;
  const { promise, resolve } = Promise.withResolvers<http.IncomingMessage | null>();
  server.on("request", resolve).on("clientError", () => resolve(null));
  server.on("upgrade", resolve).on("connect", resolve).on("checkContinue", resolve);
  server.on("checkExpectation", resolve);
  server.emit("connection", far);
  near.on("error", () => undefined);
  near.write(`${head}\r\n\r\n`, "latin1");
  const message = await promise;
  near.destroy();
  far.destroy();
  server.close();
  return message;
}

const requestHead: FuzzTarget = {
  seeds: [
    text("GET /a/b?c=d HTTP/1.1", "Host: a.test", "X: y"),
    text("POST /x HTTP/1.1", "Host: a.test:8443", "Content-Length: 12", "Expect: 100-continue"),
    text("POST /x HTTP/1.1", "Host: a.test", "Transfer-Encoding: chunked", "Connection: close"),
    text("CONNECT a.test:443 HTTP/1.1", "Host: a.test:443"),
    text("GET http://a.test/x HTTP/1.1", "Host: a.test", "Cookie: a=b", "Cookie: c=d"),
  ],
  async run(input) {
    const head = orNull(() => parseRequestHead(input.toString("latin1")));
    if (head === null || orNull(() => requestFraming(head)) === null) return;
    // Names of methods and versions that Node has never heard of are refused by it, not read in another way.
    if (!http.METHODS.includes(head.method) || head.httpVersion !== "1.1") return;
    const authority = parseAuthority(head.headers["host"] ?? "", { defaultPort: 443 });
    if (authority === null || orNull(() => strictly(head, authority)) === null) return;
    const node = await asNodeReads(input.toString("latin1"));
    assert.ok(node !== null, "what the boundary takes, Node refuses");
    assert.deepEqual([node.method, node.url], [head.method, head.url]);
    assert.deepEqual(node.rawHeaders, head.rawHeaders);
  },
};

function strictly(head: RequestHead, authority: { host: string; port: number }): true {
  requireStrict(head, head.url, authority, 443);
  return true;
}

/** Reads a body in pieces of the given size. */
function readBody(framing: Framing, bytes: Buffer, size: number): object | null {
  return orNull(() => {
    const reader = new BodyReader(framing, { extensions: true });
    const data: Buffer[] = [];
    let rest = Buffer.alloc(0);
    for (let at = 0; at < bytes.length; at += size) {
      const piece = reader.push(bytes.subarray(at, at + size));
      data.push(...piece.data);
      rest = Buffer.concat([rest, piece.rest]);
    }
    const all = Buffer.concat(data);
    assert.ok(all.length + rest.length <= bytes.length);
    return {
      all: all.toString("latin1"),
      rest: rest.toString("latin1"),
      trailers: reader.trailers,
      isDone: reader.isDone,
    };
  });
}

const body: FuzzTarget = {
  seeds: [
    text("5", "hello", "3", "abc", "0", "", "GET / HTTP/1.1"),
    text("5;a=b", "hello", "0", "X-T: y", "X-U: z", "", ""),
    text("1a", "abcdefghijklmnopqrstuvwxyz", "0", "", ""),
  ],
  run(input) {
    for (const framing of [
      { kind: "chunked" },
      { kind: "length", bytes: 9 },
      { kind: "close" },
    ] as const) {
      const whole = readBody(framing, input, input.length + 1);
      for (const size of [1, 3, 7]) assert.deepEqual(readBody(framing, input, size), whole);
    }
  },
};

const response: FuzzTarget = {
  seeds: [
    text("HTTP/1.1 200 OK", "Content-Length: 5"),
    text("HTTP/1.1 200", "Transfer-Encoding: chunked", "Content-Encoding: gzip"),
    text("HTTP/1.0 404 Not \u00e4 Found", "Connection: keep-alive"),
    text("HTTP/1.1 103 Early Hints", "Link: </x>"),
  ],
  run(input) {
    const head = orNull(() => parseResponseHead(input.toString("latin1")));
    if (head === null) return;
    assert.ok(head.status >= 100 && head.status <= 999);
    for (const value of head.rawHeaders) assert.doesNotMatch(value, /[\r\n\0]/);
    orNull(() => responseFraming(head, "GET"));
  },
};

const target: FuzzTarget = {
  seeds: ["/repos/acme/x?a=b", "/a%20b/c;d=1", "/a/%e4%bd%a0", "/..a/.b./c", "/a/b/"].map((path) =>
    Buffer.from(path),
  ),
  run(input) {
    const path = input.toString("latin1");
    const head = { method: "GET", httpVersion: "1.1", rawHeaders: ["Host", "a.test"], headers: {} };
    const isTaken = orNull(() => {
      requireStrict(head, path, { host: "a.test", port: 443 }, 443);
      requireUnambiguous(path, new URLSearchParams(path.split("?")[1]));
      return true;
    });
    if (isTaken === null) return;
    const plain = path.split("?")[0] ?? "";
    // A server that tidies paths as browsers do, or decodes them twice, is led to the same place.
    const escaped = (given: string) =>
      given.replaceAll(/["<>`{}^|]/g, (char) => encodeURIComponent(char));
    assert.equal(escaped(new URL(`http://a.test${path}`).pathname), escaped(plain));
    let decoded = plain;
    for (let turn = 0; turn < 3; turn++)
      decoded = decoded.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) =>
        String.fromCharCode(Number.parseInt(hex, 16)),
      );
    assert.equal(decoded.split("/").length, plain.split("/").length, "the same number of segments");
    assert.ok(
      !decoded.split(/[/\\]/).some((segment) => /^\.{1,2}$/.test(segment)),
      "no dot segment",
    );
  },
};

const authority: FuzzTarget = {
  seeds: ["api.test:443", "a-b.c.example:1", "http://a.test:80/x?y", "[::1]:80", "127.0.0.1:1"].map(
    (each) => Buffer.from(each),
  ),
  run(input) {
    const given = input.toString("latin1");
    const parsed = parseAuthority(given) ?? parseAbsoluteTarget(given)?.authority ?? null;
    if (parsed === null) return;
    assert.equal(new URL(`http://${parsed.host}:${parsed.port}/`).hostname, parsed.host);
    assert.ok(parsed.port >= 1 && parsed.port <= 65_535);
  },
};

const CODINGS = ["gzip", "deflate", "br", "zstd"] as const;

const decoder: FuzzTarget = {
  seeds: [zlib.gzipSync, zlib.deflateSync, zlib.brotliCompressSync, zlib.zstdCompressSync].map(
    (compress, index) =>
      Buffer.concat([Buffer.from([index]), compress(Buffer.from("hello hello hello ".repeat(50)))]),
  ),
  async run(input) {
    const coding = CODINGS[(input[0] ?? 0) % CODINGS.length] as string;
    let size = 0;
    try {
      for await (const piece of decodeBody(Readable.from([input.subarray(1)]), coding))
        size += piece.length;
    } catch (error) {
      assert.ok(error instanceof Refusal, String(error));
    }
    assert.ok(size <= 17 * 1024 * 1024 + input.length * 200);
  },
};

export const httpTargets: Record<string, FuzzTarget> = {
  "request-head": requestHead,
  body,
  response,
  target,
  authority,
  decoder,
};
