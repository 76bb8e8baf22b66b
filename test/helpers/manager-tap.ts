// Listens to everything that is said to a manager: a proxy in front of it, of which manager.json holds the port.
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import path from "node:path";
import { until } from "./until.ts";
import type { Lab } from "./lab.ts";

export interface ManagerTap extends AsyncDisposable {
  /** What each connection said to the manager, WebSocket messages unmasked. */
  said(): { where: string; bytes: Buffer }[];
}

/** Starts the lab's manager with a tap in front of it; every program of a run then talks through the tap. */
export async function tapManager(lab: Lab): Promise<ManagerTap> {
  const manager = lab.agentkube(["manager", "--data", lab.data]);
  const { port } = await until("the manager", () => {
    try {
      return lab.manager();
    } catch {
      return undefined;
    }
  });
  const streams: Buffer[][] = [];
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    const chunks: Buffer[] = [];
    streams.push(chunks);
    let isUpgraded = false;
    client.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      // The manager knows itself by its own port only.
      upstream.write(isUpgraded ? chunk : withHost(chunk, tapPort, port));
      isUpgraded ||= /\r\nupgrade: websocket/i.test(chunk.toString("latin1"));
    });
    upstream.on("data", (chunk: Buffer) => client.write(chunk));
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.on("error", () => to.destroy());
      from.once("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const tapPort = (server.address() as AddressInfo).port;
  const file = path.join(lab.data, "manager.json");
  const known = JSON.parse(readFileSync(file, "utf8")) as object;
  writeFileSync(file, JSON.stringify({ ...known, port: tapPort }), { mode: 0o600 });
  return {
    said: () =>
      streams.map((chunks, index) => ({
        where: `connection ${index} to the manager`,
        bytes: messagesOf(Buffer.concat(chunks)),
      })),
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
      manager.child.kill("SIGTERM");
      await manager.ended;
    },
  };
}

function withHost(chunk: Buffer, from: number, to: number): Buffer {
  const text = chunk.toString("latin1");
  return Buffer.from(text.replaceAll(`127.0.0.1:${from}`, `127.0.0.1:${to}`), "latin1");
}

/** The stream as it is for HTTP; for a WebSocket (RFC 6455 §5.2) its head and the unmasked payloads. */
function messagesOf(stream: Buffer): Buffer {
  const end = stream.indexOf("\r\n\r\n") + 4;
  const head = stream.subarray(0, end);
  if (!/\r\nupgrade: websocket/i.test(head.toString("latin1"))) return stream;
  const parts = [head];
  for (let at = end; at + 2 <= stream.length;) {
    let length = (stream[at + 1] ?? 0) & 0x7f;
    let next = at + 2;
    if (length === 126) {
      length = stream.readUInt16BE(next);
      next += 2;
    } else if (length === 127) {
      length = Number(stream.readBigUInt64BE(next));
      next += 8;
    }
    const mask = stream.subarray(next, next + 4);
    const payload = stream.subarray(next + 4, next + 4 + length);
    parts.push(payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0)) as Buffer);
    at = next + 4 + length;
  }
  return Buffer.concat(parts);
}
