import assert from "node:assert/strict";
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import timers from "node:timers/promises";
import { silentLog } from "../../src/kit/log.ts";
import { createCallId } from "../../src/protocol/ids.ts";
import { Boundary } from "../../src/tool-runner/boundary/boundary.ts";
import type { CallBoundary } from "../../src/tool-runner/boundary/call-boundary.ts";
import { findSecret, formsOf } from "../helpers/secret-forms.ts";
import type { FuzzTarget } from "./target.ts";

const HOST = "api.test";
const CANARY = "c4nary-Zx81kQv93LmNbTr7Yw2Pd6Hs";
const PATIENCE_MS = 5000;

/** A boundary with an upstream in the clear that answers with `answer`, byte for byte. */
class Place {
  answer: Buffer = Buffer.alloc(0);
  received = "";
  records = 0;
  #call: CallBoundary | null = null;
  readonly #server = net.createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (bytes: Buffer) => {
      this.received += bytes.toString("latin1");
      if (bytes.includes("\r\n\r\n")) socket.end(this.answer);
    });
  });
  #requests = 0;
  port = 0;

  /** The call, made anew before it has used up its requests. */
  async call(): Promise<CallBoundary> {
    if (this.port === 0) {
      this.#server.listen(0, "127.0.0.1");
      await once(this.#server, "listening");
      this.port = (this.#server.address() as AddressInfo).port;
    }
    if (this.#call !== null && ++this.#requests < 200) return this.#call;
    await this.#call?.[Symbol.asyncDispose]();
    this.#requests = 0;
    const boundary = new Boundary({
      run: "fuzz",
      log: silentLog,
      onRequest: () => (this.records += 1),
      hosts: [HOST],
      limits: { silenceMs: 1000 },
    });
    this.#call = await boundary.openCall(
      {
        call: createCallId(),
        tool: "fuzz",
        network: [{ host: HOST, port: this.port, private: true, address: "127.0.0.1" }],
        credentials: [
          {
            name: "c",
            http: {
              hosts: [`${HOST}:${this.port}`],
              methods: ["GET", "POST"],
              paths: ["/bound/"],
              header: "Authorization",
              format: "Bearer {{secret}}",
            },
            secret: () => Buffer.from(CANARY),
          },
        ],
      },
      { port: 0 },
    );
    return this.#call;
  }

  /** Says these bytes to the proxy and gives all that comes back until it closes; fails when it does not. */
  async say(bytes: Buffer): Promise<Buffer> {
    const { port } = await this.call();
    const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    const got: Buffer[] = [];
    socket.on("data", (each: Buffer) => got.push(each)).on("error", () => undefined);
    socket.end(bytes);
    const done = new AbortController();
    const late = timers.setTimeout(PATIENCE_MS, "late", { signal: done.signal }).catch(() => "");
    const how = await Promise.race([once(socket, "close").then(() => "closed"), late]);
    done.abort();
    socket.destroy();
    assert.equal(how, "closed", `the connection is open ${PATIENCE_MS} ms after its end`);
    return Buffer.concat(got);
  }

  async close(): Promise<void> {
    await this.#call?.[Symbol.asyncDispose]();
    this.#call = null;
    await new Promise((resolve) => this.#server.close(resolve));
    this.port = 0;
  }
}

const toolPlace = new Place();

/** Bytes of a tool. `PORT` in a seed is the upstream's. */
const tool: FuzzTarget = {
  seeds: [
    `GET http://${HOST}:PORT/bound/x HTTP/1.1\r\nHost: ${HOST}:PORT\r\n\r\n`,
    `POST http://${HOST}:PORT/bound/x HTTP/1.1\r\nHost: ${HOST}:PORT\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
    `CONNECT ${HOST}:PORT HTTP/1.1\r\nHost: ${HOST}:PORT\r\n\r\nGET /bound/x HTTP/1.1\r\nHost: ${HOST}:PORT\r\n\r\n`,
    `CONNECT ${HOST}:PORT HTTP/1.1\r\n\r\n\u0016\u0003\u0001\u0000\u00c4\u0001\u0000\u0000\u00c0\u0003\u0003${"r".repeat(80)}`,
    `GET http://evil.test/ HTTP/1.1\r\nHost: ${HOST}:PORT\r\n\r\n`,
  ].map((text) => Buffer.from(text, "latin1")),
  async run(input) {
    await toolPlace.call();
    toolPlace.answer = Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    toolPlace.received = "";
    const said = Buffer.from(
      input.toString("latin1").replaceAll("PORT", String(toolPlace.port)),
      "latin1",
    );
    await toolPlace.say(said);
    // Whatever was said: a credential went up in nothing but a request of its rule, one for each.
    const heads = toolPlace.received.split(/(?=^(?:GET|POST) \S+ HTTP\/1\.1\r$)/m);
    for (const head of heads.filter((each) => each.includes(CANARY))) {
      assert.match(head, /^(?:GET|POST) \/bound\/\S* HTTP\/1\.1\r\nHost: api\.test:\d+\r\n/);
      assert.equal(head.split(CANARY).length, 2);
    }
  },
  close: () => toolPlace.close(),
};

const upstreamPlace = new Place();
const forms = formsOf(CANARY);

/** Bytes of an upstream. `CANARY0` … `CANARY47` in a seed is the secret in that form. */
const upstream: FuzzTarget = {
  seeds: [
    "HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\nCANARY0",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1f\r\nCANARY0\r\n0\r\nX-T: CANARY0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: CANARY4\n\ndata: CANARY30\n\n",
    "HTTP/1.1 103 Early\r\nLink: CANARY0\r\n\r\nHTTP/1.1 404 CANARY0\r\nX-CANARY0: CANARY12\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nCANARY0",
    "SSH-2.0-CANARY0\r\n",
  ].map((text) => Buffer.from(text, "latin1")),
  async run(input) {
    await upstreamPlace.call();
    const records = upstreamPlace.records;
    const filled = input
      .toString("latin1")
      .replaceAll(/CANARY(\d{1,2})/g, (_, index: string) =>
        (forms[Number(index) % forms.length]?.bytes ?? Buffer.alloc(0)).toString("latin1"),
      );
    upstreamPlace.answer = Buffer.from(filled, "latin1");
    const authority = `${HOST}:${upstreamPlace.port}`;
    const said = await upstreamPlace.say(
      Buffer.from(
        `GET http://${authority}/bound/x HTTP/1.1\r\nHost: ${authority}\r\nConnection: close\r\n\r\n`,
      ),
    );
    assert.match(said.toString("latin1"), /^HTTP\/1\.1 [2-9]\d\d /);
    assert.deepEqual(findSecret(said, CANARY), []);
    assert.equal(upstreamPlace.records, records + 1);
  },
  close: () => upstreamPlace.close(),
};

export const boundaryTargets: Record<string, FuzzTarget> = { tool, upstream };
