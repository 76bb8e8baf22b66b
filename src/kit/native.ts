import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { existsSync } from "node:fs";
import { PlatformError } from "./platform-error.ts";

/** What Node cannot do by itself, from `src/native/addon.c`. Descriptors are plain numbers that the caller owns. */
export interface NativeAddon {
  /** A connected pair of AF_UNIX SOCK_SEQPACKET sockets, close-on-exec. Messages keep their bounds. */
  socketPair(): [number, number];
  /** One message without waiting; null when there is none yet. `data.length` 0 means the peer is gone. */
  receive(socket: number): { data: Buffer; descriptors: number[] } | null;
  /** Sends one message, with copies of at most 8 descriptors, without waiting; throws with `code` EAGAIN when the socket's buffer is full. */
  send(socket: number, data: Buffer, descriptors?: readonly number[]): void;
  /** A new pipe, close-on-exec: the end to read from, the end to write to. */
  pipe(): [number, number];
  /** Another descriptor of the same open file, close-on-exec. */
  duplicate(fd: number): number;
  /** read(2) and write(2) without waiting: the count, or a negated errno (-EAGAIN, -EIO). */
  read(fd: number, buffer: Buffer, offset: number, length: number): number;
  write(fd: number, buffer: Buffer, offset: number, length: number): number;
  setNonBlocking(fd: number): void;
  setWindowSize(fd: number, cols: number, rows: number): void;
  windowSize(fd: number): { cols: number; rows: number };
  /** The foreground process group of a terminal; 0 when there is none. */
  foregroundGroup(fd: number): number;
  /** Flags of the line discipline, read from the master. */
  terminalFlags(fd: number): { canonical: boolean; echo: boolean; signals: boolean };
  /** Bytes typed into a terminal, by its master, that its program has not read yet. */
  unreadInput(master: number): number;
  /** Bytes that wait to be read (FIONREAD). */
  queuedBytes(fd: number): number;
  /** Takes an exclusive flock without waiting; false when another process has it. Freed when the descriptor closes. */
  lockFile(fd: number): boolean;
  /** Makes this process not dumpable and its core limit 0: no /proc/PID/mem or environ for others, no core file. */
  hideProcess(): void;
  /** An anonymous file with these bytes, at offset 0, sealed against change. */
  sealedFile(name: string, data: Buffer): number;
  /** Watches a descriptor in the event loop. `events`: 1 readable (or hung up), 2 writable. */
  Watcher: new (fd: number, callback: (events: number) => void) => Watcher;
}

export interface Watcher {
  /** 1 readable, 2 writable, 3 both, 0 none (stops watching; may be started again). */
  watch(events: number): void;
  /** Stops for good. Does not close the descriptor. Safe to call twice. */
  close(): void;
}

const buildDir = fileURLToPath(new URL("../../build/", import.meta.url));

/** The path of a program built from `src/native/`. Throws `PlatformError` `native_missing` when it is not built. */
export function nativeProgram(
  name: "zone-init" | "tool-spawner" | "host-uid" | "report" | "pod-zone" | "set-aside",
): string {
  const path = `${buildDir}${name}`;
  if (!existsSync(path)) throw notBuilt(path);
  return path;
}

let addon: NativeAddon | undefined;

/** The addon, loaded once. Throws `PlatformError` `native_missing` when it is not built. */
export function native(): NativeAddon {
  if (addon === undefined) {
    const path = `${buildDir}addon.node`;
    if (!existsSync(path)) throw notBuilt(path);
    addon = createRequire(import.meta.url)(path) as NativeAddon;
  }
  return addon;
}

function notBuilt(path: string): PlatformError {
  return new PlatformError("native_missing", `Native part "${path}" is not built`, {
    path,
    fix: "run npm run setup in agentkube's directory; it needs a C compiler (Debian: apt-get install gcc libc6-dev)",
  });
}
