import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { once } from "node:events";

const MAX_CONNECTIONS = 256;

/** Carries connections of zone A to the tool-runner's socket, byte by byte. */
export interface GatewayRelay extends AsyncDisposable {
  /** on 127.0.0.1 of the namespace that the listener belongs to */
  readonly port: number;
}

/**
 * Takes connections on `listener`, a listening descriptor that the relay owns from now on, or, when null, on a free port of
 * this process's own 127.0.0.1. Half-closes are kept; without a runner a connection is closed.
 */
export async function openGatewayRelay(
  listener: number | null,
  runnerSocket: string,
): Promise<GatewayRelay> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) =>
    relay(socket, runnerSocket, sockets),
  );
  server.maxConnections = MAX_CONNECTIONS;
  if (listener === null) server.listen({ host: "127.0.0.1", port: 0 });
  else server.listen({ fd: listener });
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () => closeAll(server, sockets),
  };
}

function relay(inner: Socket, runnerSocket: string, sockets: Set<Socket>): void {
  const outer = connect({ path: runnerSocket, allowHalfOpen: true });
  inner.setNoDelay(true);
  for (const [from, to] of [
    [inner, outer],
    [outer, inner],
  ] as const) {
    sockets.add(from);
    from.on("error", () => to.destroy());
    from.on("close", () => {
      sockets.delete(from);
      // After an end that was passed on the other side may still be speaking; only a broken one takes it along.
      if (!from.readableEnded || !from.writableFinished) to.destroy();
    });
    from.pipe(to);
  }
}

async function closeAll(server: Server, sockets: Set<Socket>): Promise<void> {
  for (const socket of sockets) socket.destroy();
  if (!server.listening) return;
  server.close();
  await once(server, "close");
}
