// Times the same request straight to the upstream and through proxies: kept alive, on new connections, many at once, and as events.
import { once } from "node:events";
import http from "node:http";
import type { IncomingMessage } from "node:http";
import net from "node:net";
import tls from "node:tls";
import { answer } from "./forked.ts";
import { sideBySide } from "./measure.ts";

/** A way to the upstream: straight, or by a proxy whose ports may each serve one call. */
export interface Way {
  ports: number[];
  caPem: string;
  /** the client speaks plain HTTP to the proxy and needs no certificate */
  plain?: boolean;
}

export interface ClientQuestion {
  host: string;
  token: string;
  upstream: { port: number; caPem: string };
  /** proxies by name; "direct" is always measured beside them */
  ways: Record<string, Way>;
  keptTurns: number;
  newTurns: number;
  /** length of one round of many requests at once, of four */
  loadMs: number;
  events: number;
}

/** By way: milliseconds of each request, requests a second, milliseconds of each event. */
export interface ClientAnswer {
  kept: Record<string, number[]>;
  fresh: Record<string, number[]>;
  load: Record<string, number>;
  events: Record<string, number[]>;
}

const AT_ONCE = 8;

answer(async (question: ClientQuestion): Promise<ClientAnswer> => {
  const { host, upstream, token } = question;
  const target = `${host}:${upstream.port}`;
  const ways: Record<string, Way | null> = { direct: null, ...question.ways };
  // The first port of a way is for what is kept; each new connection takes a port of its own while there are some.
  const unused = Object.fromEntries(
    Object.entries(ways).map(([name, way]) => [name, way?.ports.slice(1) ?? []]),
  );

  async function open(name: string, isNew: boolean): Promise<Connection> {
    const way = ways[name] ?? null;
    // Straight, the client holds the credential itself; through a proxy it has none.
    const headers: http.OutgoingHttpHeaders = { host: target };
    if (way === null) {
      const options = { port: upstream.port, host: "127.0.0.1", ca: upstream.caPem };
      return {
        socket: await secured(options),
        headers: { ...headers, authorization: `Bearer ${token}` },
        base: "",
      };
    }
    const port = (isNew ? unused[name]?.shift() : undefined) ?? way.ports[0] ?? 0;
    const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
    if (way.plain === true) return { socket, headers, base: `http://${target}` };
    socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
    const [said] = (await once(socket, "data")) as [Buffer];
    if (!said.toString("latin1").startsWith("HTTP/1.1 200"))
      throw new Error(`Expected a tunnel of ${name}, got ${said.toString("latin1")}`);
    return { socket: await secured({ socket, ca: way.caPem }), headers, base: "" };
  }
  async function secured(options: tls.ConnectionOptions): Promise<tls.TLSSocket> {
    const socket = tls.connect({ ...options, servername: host, ALPNProtocols: ["http/1.1"] });
    await once(socket, "secureConnect");
    socket.setNoDelay(true);
    return socket;
  }

  const names = Object.keys(ways);
  const each = <T>(work: (name: string) => T): Record<string, T> =>
    Object.fromEntries(names.map((name) => [name, work(name)]));
  const agents: Record<string, KeptConnection> = {};
  for (const name of names) agents[name] = new KeptConnection(await open(name, false));
  const kept = await sideBySide(
    question.keptTurns,
    each((name) => () => agents[name]?.exchange() ?? Promise.resolve()),
  );
  const fresh = await sideBySide(
    question.newTurns,
    each((name) => async () => {
      using connection = new KeptConnection(await open(name, true));
      await connection.exchange();
    }),
  );
  const load = each(() => 0);
  for (let round = 0; round < 4; round++)
    for (const name of names) load[name] = (load[name] ?? 0) + (await rate(name)) / 4;
  const events: Record<string, number[]> = {};
  for (const name of names) events[name] = await eventsOf(await open(name, false));
  for (const agent of Object.values(agents)) agent[Symbol.dispose]();
  return { kept, fresh, load, events };

  /** Requests a second on several connections at once. */
  async function rate(name: string): Promise<number> {
    const deadline = performance.now() + question.loadMs;
    let count = 0;
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        using connection = new KeptConnection(await open(name, false));
        for (; performance.now() < deadline; count++) await connection.exchange();
      }),
    );
    return (count * 1000) / question.loadMs;
  }

  /** Milliseconds from an event's being sent to its being here. */
  async function eventsOf({ socket, headers, base }: Connection): Promise<number[]> {
    const times: number[] = [];
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${String(value)}\r\n`);
    socket.write(`GET ${base}/v1/events HTTP/1.1\r\n${lines.join("")}\r\n`);
    while (times.length < question.events) {
      const [bytes] = (await once(socket, "data")) as [Buffer];
      const now = process.hrtime.bigint();
      for (const [, sent = "0"] of bytes.toString("latin1").matchAll(/"sent":"(\d+)"/g))
        times.push(Number(now - BigInt(sent)) / 1e6);
    }
    socket.destroy();
    // The first ones tell of the connection, not of the stream.
    return times.slice(10);
  }
});

interface Connection {
  socket: net.Socket;
  headers: http.OutgoingHttpHeaders;
  /** what stands before the path */
  base: string;
}

/** One connection for every request. Asking for a second one is a mistake of the measurement. */
class KeptConnection extends http.Agent implements Disposable {
  #socket: net.Socket | null;
  readonly #headers: http.OutgoingHttpHeaders;
  readonly #path: string;

  constructor({ socket, headers, base }: Connection) {
    super({ keepAlive: true, maxSockets: 1 });
    this.#socket = socket;
    this.#headers = headers;
    this.#path = `${base}/v1/items`;
  }

  override createConnection(): net.Socket {
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) throw new Error("The kept connection was closed");
    return socket;
  }

  async exchange(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onResponse = (response: IncomingMessage): void => {
      response.resume();
      response.once("error", reject).once("end", () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(`Expected 200, got ${response.statusCode}`));
      });
    };
    http
      .request({ path: this.#path, agent: this, headers: this.#headers }, onResponse)
      .on("error", reject)
      .end();
    await promise;
  }

  [Symbol.dispose](): void {
    this.destroy();
    this.#socket?.destroy();
  }
}
