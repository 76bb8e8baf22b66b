// Times the same request straight to the upstream and through the boundary, kept alive and on new connections.
import { once } from "node:events";
import http from "node:http";
import type { IncomingMessage } from "node:http";
import net from "node:net";
import tls from "node:tls";
import { answer } from "./forked.ts";
import { sideBySide } from "./measure.ts";

export interface ClientQuestion {
  host: string;
  token: string;
  upstream: { port: number; caPem: string };
  boundary: { caPem: string; ports: number[] };
  keptTurns: number;
  newTurns: number;
}

/** Milliseconds of each request. */
export interface ClientAnswer {
  direct: number[];
  boundary: number[];
  newDirect: number[];
  newBoundary: number[];
}

type Way = "direct" | "boundary";

answer(async (question: ClientQuestion): Promise<ClientAnswer> => {
  const { host, upstream, boundary, token } = question;
  const [keptPort, ...freshPorts] = boundary.ports;
  const target = `${host}:${upstream.port}`;

  const direct = (): Promise<tls.TLSSocket> =>
    secured({ port: upstream.port, host: "127.0.0.1", ca: upstream.caPem });
  const tunnelled = async (port: number | undefined): Promise<tls.TLSSocket> => {
    if (port === undefined) throw new Error("Expected a call for each new connection");
    const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
    socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
    const [said] = (await once(socket, "data")) as [Buffer];
    if (!said.toString("latin1").startsWith("HTTP/1.1 200"))
      throw new Error(`Expected a tunnel, got ${said.toString("latin1")}`);
    return await secured({ socket, ca: boundary.caPem });
  };
  async function secured(options: tls.ConnectionOptions): Promise<tls.TLSSocket> {
    const socket = tls.connect({ ...options, servername: host, ALPNProtocols: ["http/1.1"] });
    await once(socket, "secureConnect");
    socket.setNoDelay(true);
    return socket;
  }
  // Straight, the client holds the credential itself; through the boundary it has none.
  const headersOf = (way: Way): http.OutgoingHttpHeaders => ({
    host: target,
    ...(way === "direct" ? { authorization: `Bearer ${token}` } : {}),
  });
  async function onNew(way: Way): Promise<void> {
    const socket = await (way === "direct" ? direct() : tunnelled(freshPorts.shift()));
    await exchange({ createConnection: () => socket, headers: headersOf(way) });
    socket.destroy();
  }
  const agents = {
    direct: new KeptConnection(await direct()),
    boundary: new KeptConnection(await tunnelled(keptPort)),
  };
  const onKept = (way: Way) => exchange({ agent: agents[way], headers: headersOf(way) });

  const kept = await sideBySide(question.keptTurns, {
    direct: () => onKept("direct"),
    boundary: () => onKept("boundary"),
  });
  const fresh = await sideBySide(question.newTurns, {
    direct: () => onNew("direct"),
    boundary: () => onNew("boundary"),
  });
  for (const agent of Object.values(agents)) agent.destroy();
  return { ...kept, newDirect: fresh.direct, newBoundary: fresh.boundary };
});

/** One connection for every request. Asking for a second one is a mistake of the measurement. */
class KeptConnection extends http.Agent {
  #socket: tls.TLSSocket | null;

  constructor(socket: tls.TLSSocket) {
    super({ keepAlive: true, maxSockets: 1 });
    this.#socket = socket;
  }

  override createConnection(): tls.TLSSocket {
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) throw new Error("The kept connection was closed");
    return socket;
  }
}

async function exchange(options: http.RequestOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onResponse = (response: IncomingMessage): void => {
    response.resume();
    response.once("error", reject).once("end", () => {
      if (response.statusCode === 200) resolve();
      else reject(new Error(`Expected 200, got ${response.statusCode}`));
    });
  };
  http
    .request({ path: "/v1/items", ...options }, onResponse)
    .on("error", reject)
    .end();
  await promise;
}
