import { STATUS_CODES } from "node:http";
import { Readable } from "node:stream";
import { type RedactionTable, Redactor } from "../../kit/redactor.ts";
import type { UpstreamTarget } from "./call-upstreams.ts";
import { codingOf, decodeBody } from "./decode-body.ts";
import { maskText, responseHeaders } from "./header-rules.ts";
import { BodyReader } from "./http-body.ts";
import {
  type Framing,
  MalformedMessage,
  parseResponseHead,
  type RequestHead,
  type ResponseHead,
  responseFraming,
} from "./http-head.ts";
import { MAX_HEADER_BYTES } from "./limits.ts";
import { Refusal } from "./refusal.ts";
import type { RequestMeter } from "./request-record.ts";
import type { Spending } from "./spending.ts";
import { type Wire, WireClosed, WireTimeout } from "./wire.ts";

/** Header fields of an upstream's response together. */
const MAX_RESPONSE_HEADERS = 32 * 1024;
/** Early hints and the like before the answer itself. */
const MAX_INTERIM = 16;
/** Reused connections that turn out dead, before the request is given up. */
const MAX_STALE = 4;
const CHUNK_END = Buffer.from("\r\n");
const NOTHING = Buffer.alloc(0);

export interface Exchange {
  /** the tool's side; its request's head was read */
  client: Wire;
  request: RequestHead;
  framing: Framing;
  upstream: UpstreamTarget;
  /** origin-form, with the query */
  target: string;
  headers: string[];
  /** null when there is nothing to mask */
  table: RedactionTable | null;
  dropCookies: boolean;
  meter: RequestMeter;
  /** the call's, and the credential's where one is put in */
  spendings: readonly Spending[];
  limits: { bytesUp: number; bytesDown: number; silenceMs: number; requestMs: number };
  /** the answer ends the tool's connection */
  closes: boolean;
}

/** How an exchange left the tool's connection. */
export interface ExchangeEnd {
  /** another request may follow on it */
  isReusable: boolean;
}

/**
 * Sends one request upstream and its answer back, masked, as it comes. Throws a `Refusal`: before the answer has begun it can be
 * told to the tool, and `meter.status` is null; after that the connection must be cut, since nobody may take the answer for whole.
 */
export async function exchange(job: Exchange): Promise<ExchangeEnd> {
  for (let attempt = 0; ; attempt++) {
    const { wire, isReused } = await job.upstream.take();
    const upload = new Upload(job, wire);
    const gone = (): void => void wire.socket.destroy();
    // The sender is gone, or the grant is: nobody may go on using the credential.
    job.client.onClose = gone;
    if (job.client.socket.destroyed) gone();
    try {
      await upload.begin();
      const head = await answerOf(job, wire, upload);
      const isWhole = await sendAnswer(job, wire, head);
      const isClean = isWhole && upload.isDone;
      if (isClean) job.upstream.keep(wire);
      else wire.socket.destroy();
      return { isReusable: upload.isDone && !job.closes };
    } catch (error) {
      wire.socket.destroy();
      const isSafe = ["GET", "HEAD", "OPTIONS"].includes(job.request.method) && upload.isEmpty;
      const isStale = isReused && error instanceof WireClosed && job.meter.status === null;
      if (isStale && isSafe && attempt < MAX_STALE && !job.client.socket.destroyed) continue;
      if (error instanceof WireTimeout) for (const spending of job.spendings) spending.checkTime();
      throw refusalOf(job, upload.fault ?? error);
    } finally {
      job.client.onClose = null;
    }
  }
}

/** The request on its way up: its head at once, its body beside whatever comes back. */
class Upload {
  readonly isEmpty: boolean;
  isDone = false;
  fault: unknown = null;
  readonly #job: Exchange;
  readonly #wire: Wire;
  readonly #body: BodyReader;

  constructor(job: Exchange, wire: Wire) {
    this.#job = job;
    this.#wire = wire;
    this.#body = new BodyReader(job.framing, { extensions: false });
    this.isEmpty = this.#body.isDone;
  }

  async begin(): Promise<void> {
    const { request, target, headers, client } = this.#job;
    let head = `${request.method} ${target} HTTP/1.1\r\n`;
    for (let index = 0; index + 1 < headers.length; index += 2)
      head += `${headers[index]}: ${headers[index + 1]}\r\n`;
    await this.#wire.write(`${head}Connection: keep-alive\r\n\r\n`);
    if (this.isEmpty) {
      this.isDone = true;
      return;
    }
    if (request.headers["expect"] !== undefined)
      await client.write("HTTP/1.1 100 Continue\r\n\r\n");
    this.#send().then(
      () => (this.isDone = true),
      (error: unknown) => {
        // An upstream that stops reading may have answered already; its reader finds out.
        if (error instanceof WireClosed) return;
        this.fault = error;
        this.#wire.socket.destroy();
      },
    );
  }

  async #send(): Promise<void> {
    const isChunked = this.#job.framing.kind === "chunked";
    const deadline = performance.now() + this.#job.limits.requestMs;
    while (!this.#body.isDone) {
      for (const piece of await this.#next(Math.max(1, deadline - performance.now())))
        await this.#wire.write(isChunked ? chunkOf(piece) : piece);
    }
    // Trailers of a request are not sent on: what they would say was to be said in its head.
    if (isChunked) await this.#wire.write("0\r\n\r\n");
  }

  /** The next pieces of the body, counted. */
  async #next(timeoutMs: number): Promise<Buffer[]> {
    const { client, limits, meter, spendings } = this.#job;
    try {
      const bytes = await client.read(timeoutMs);
      if (bytes === null) throw new MalformedMessage("the body is not whole");
      const { data, rest } = this.#body.push(bytes);
      client.putBack(rest);
      for (const { length } of data) {
        meter.bytesUp += length;
        if (meter.bytesUp > limits.bytesUp) throw tooLargeUp(limits.bytesUp);
        for (const spending of spendings) spending.up(length);
      }
      return data;
    } catch (error) {
      if (error instanceof WireTimeout) throw malformed(408);
      throw error instanceof MalformedMessage ? malformed(400) : error;
    }
  }
}

/** The head of the answer itself, interim ones dropped. */
async function answerOf(job: Exchange, wire: Wire, upload: Upload): Promise<ResponseHead> {
  for (let interim = 0; interim <= MAX_INTERIM; interim++) {
    const text = await patiently(job, upload, () =>
      wire.readHead(MAX_RESPONSE_HEADERS, silenceOf(job)),
    );
    if (text === null) throw new WireClosed();
    const head = parseResponseHead(text);
    if (head.status >= 200) return head;
    if (head.status === 101) throw new MalformedMessage("it switched protocols unasked");
  }
  throw new MalformedMessage("it has too many interim answers");
}

/** While a request's body is still on its way, the upstream's silence is no fault of its own. */
async function patiently<T>(job: Exchange, upload: Upload, read: () => Promise<T>): Promise<T> {
  const startedAt = performance.now();
  for (;;) {
    try {
      return await read();
    } catch (error) {
      const isEarly = !upload.isDone && performance.now() - startedAt < job.limits.requestMs;
      if (!(error instanceof WireTimeout) || !isEarly) throw error;
    }
  }
}

/** Writes the answer out; true when the upstream's connection can be used again. */
async function sendAnswer(job: Exchange, wire: Wire, head: ResponseHead): Promise<boolean> {
  const { request, meter, table } = job;
  const framing = responseFraming(head, request.method);
  const coding = codingOf(head.headers["content-encoding"]);
  const isDecoded = coding !== null && table !== null && framing.kind !== "none";
  const { headers, masked } = responseHeaders(head, { ...job, isDecoded });
  meter.masked += masked;
  const body = new BodyReader(framing, { extensions: true });
  const isChunked = isDecoded || framing.kind === "chunked" || framing.kind === "close";
  const out = new Outgoing(job, isChunked, answerHead(job, head.status, headers, isChunked));
  // With the first bytes of the body if they are here already, else now: an event stream may be silent at first.
  if (!isDecoded && (wire.isQuiet || body.isDone)) await out.flush();
  const pieces = bodyOf(job, wire, body);
  for await (const piece of isDecoded ? decodeBody(Readable.from(pieces), coding) : pieces)
    await out.body(piece);
  await out.end(framing.kind === "chunked" ? body.trailers : []);
  const isKept = !/(?:^|[\s,])close(?:$|[\s,])/i.test(head.headers["connection"] ?? "");
  const isLast = framing.kind === "close" || !isKept || head.httpVersion === "1.0";
  return !isLast && body.isDone;
}

function answerHead(
  { request, closes }: Exchange,
  status: number,
  headers: readonly string[],
  isChunked: boolean,
): string {
  let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Unknown"}\r\n`;
  for (let index = 0; index + 1 < headers.length; index += 2) {
    // A chunked body has no length beside it; what the upstream said of one was checked already.
    if (isChunked && /^content-length$/i.test(headers[index] as string)) continue;
    text += `${headers[index]}: ${headers[index + 1]}\r\n`;
  }
  if (isChunked && request.method !== "HEAD") text += "Transfer-Encoding: chunked\r\n";
  if (closes) text += "Connection: close\r\n";
  return `${text}\r\n`;
}

/** The body's bytes as they come from upstream. */
async function* bodyOf(job: Exchange, wire: Wire, body: BodyReader): AsyncGenerator<Buffer> {
  while (!body.isDone) {
    const bytes = await wire.read(silenceOf(job));
    if (bytes === null) {
      body.end();
      return;
    }
    const { data, rest } = body.push(bytes);
    wire.putBack(rest);
    yield* data;
  }
}

/** How long the upstream may be silent: as long as anybody may, and no longer than the credential's time. */
function silenceOf({ limits, spendings }: Exchange): number {
  // A timer may fire a millisecond before its time, and then the budget would not be spent yet.
  const left = spendings.map(({ leftMs }) => Math.ceil(leftMs) + 2);
  return Math.max(1, Math.min(limits.silenceMs, ...left));
}

/** The answer on its way down, masked. Its head leaves with the first bytes of its body. */
class Outgoing {
  readonly #job: Exchange;
  readonly #isChunked: boolean;
  readonly #redactor: Redactor | null;
  #head: string | null;

  constructor(job: Exchange, isChunked: boolean, head: string) {
    this.#job = job;
    this.#isChunked = isChunked;
    this.#redactor = job.table === null ? null : new Redactor(job.table);
    this.#head = head;
  }

  async flush(): Promise<void> {
    await this.#write(NOTHING);
  }

  async body(piece: Buffer): Promise<void> {
    for (const spending of this.#job.spendings) spending.down(piece.length);
    await this.#write(this.#redactor === null ? piece : this.#redactor.push(piece));
  }

  async end(trailers: readonly string[]): Promise<void> {
    const { meter, client } = this.#job;
    await this.#write(this.#redactor?.end() ?? NOTHING);
    meter.masked += this.#redactor?.masked ?? 0;
    if (this.#isChunked) await client.write(`0\r\n${this.#trailers(trailers)}\r\n`);
  }

  async #write(bytes: Buffer): Promise<void> {
    const { meter, limits, client } = this.#job;
    meter.bytesDown += bytes.length;
    if (meter.bytesDown > limits.bytesDown) throw tooLargeDown(limits.bytesDown);
    const framed = this.#isChunked && bytes.length > 0 ? chunkOf(bytes) : bytes;
    const head = this.#head;
    this.#head = null;
    if (head === null) {
      if (framed.length > 0) await client.write(framed);
      return;
    }
    meter.status = Number(head.slice(9, 12));
    await client.write(
      framed.length === 0 ? head : Buffer.concat([Buffer.from(head, "latin1"), framed]),
    );
  }

  #trailers(raw: readonly string[]): string {
    const { table, meter } = this.#job;
    let text = "";
    for (let index = 0; index + 1 < raw.length; index += 2) {
      const name = maskText(table, raw[index] as string);
      const value = maskText(table, raw[index + 1] as string);
      meter.masked += name.masked + value.masked;
      if (name.masked === 0) text += `${name.text}: ${value.text}\r\n`;
    }
    return text;
  }
}

function chunkOf(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, CHUNK_END]);
}

function tooLargeUp(limit: number): Refusal {
  const message = `Expected a request body of at most ${limit} bytes`;
  return new Refusal(413, "refused_rule", "request_too_large", message);
}

function tooLargeDown(limit: number): Refusal {
  const message = `The response is larger than ${limit} bytes`;
  return new Refusal(502, "upstream_failed", "response_too_large", message);
}

/** What a tool is told whose bytes are no HTTP. */
export function malformed(status: number): Refusal {
  const kib = MAX_HEADER_BYTES / 1024;
  const message = `Expected one well-formed HTTP/1.1 request with at most ${kib} KiB of headers, in time`;
  return new Refusal(status, "refused_ambiguous", "malformed_request", message);
}

function refusalOf({ upstream: { host, port }, limits }: Exchange, error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const fail = (status: number, code: string, message: string) =>
    new Refusal(status, "upstream_failed", code, message);
  if (error instanceof WireTimeout)
    return fail(
      504,
      "upstream_timeout",
      `The upstream was silent for ${limits.silenceMs / 1000} s`,
    );
  if (error instanceof MalformedMessage)
    return fail(502, "upstream_garbage", `${host}:${port} did not answer in HTTP/1.1`);
  return fail(
    502,
    "upstream_closed",
    `${host}:${port} closed the connection before its answer was complete`,
  );
}
