import { readFileSync } from "node:fs";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { PlatformError } from "./platform-error.ts";

const LOOPBACK = "127.0.0.1";
/** states in `/proc/net/tcp`, from the kernel's include/net/tcp_states.h */
const LISTEN = "0A";

/**
 * Connects to a port of 127.0.0.1 behind which a program of this user, or of root, must be: a `createConnection` for HTTP clients that show
 * a token. A port of a program that is gone can be taken by any user of the machine; such a one is found by the kernel's own list of
 * sockets before the first byte is sent, and the socket ends with `PlatformError` `stranger_listens`.
 */
export function connectToOwn(options: { port?: number | string | null | undefined }): Socket {
  const socket = connect({ host: LOOPBACK, port: Number(options.port) });
  // Registered before any writer's listener: what they wrote waits for the same event.
  socket.prependOnceListener("connect", () => {
    const { localPort = 0, remotePort = 0 } = socket;
    try {
      requireOwn(readFileSync("/proc/net/tcp", "utf8"), localPort, remotePort);
    } catch (error) {
      socket.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  });
  return socket;
}

/**
 * `table`: the text of `/proc/net/tcp`. Throws unless the listener on 127.0.0.1:`port` is ours, and so is what has taken the connection from `from`. Both are looked at: who listens
 * now may not be who took the connection, and one that nobody has taken yet has no owner (the kernel says 0).
 */
export function requireOwn(table: string, from: number, port: number): void {
  const allowed = new Set([process.geteuid?.(), 0]);
  let isListening = false;
  for (const line of table.split("\n").slice(1)) {
    const [, local, remote, state, , , , uid] = line.trim().split(/\s+/);
    if (local !== addressOf(port)) continue;
    const isOwn = allowed.has(Number(uid));
    if (state === LISTEN && isOwn) isListening = true;
    if (!isOwn && (state === LISTEN || remote === addressOf(from))) throw stranger(port);
  }
  if (!isListening) throw stranger(port);
}

/** As the kernel prints 127.0.0.1 and a port: the address in the byte order of this machine (both of ours are little-endian). */
function addressOf(port: number): string {
  return `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
}

function stranger(port: number): PlatformError {
  return new PlatformError(
    "stranger_listens",
    `Expected a program of this user at ${LOOPBACK}:${port}, found another user's`,
    { retryable: true, fix: "look who has the port: ss -ltnp" },
  );
}
