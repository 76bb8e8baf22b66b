import type { WebSocket, WebSocketServer } from "ws";
import { parseJson } from "../kit/json-lines.ts";
import type { Log } from "../kit/log.ts";
import { PlatformError } from "../kit/platform-error.ts";
import { AttachMessage } from "../protocol/agentlet-link.ts";
import { CloseCode } from "../protocol/recording-link.ts";
import { fromOf } from "./api.ts";
import type { AttachRelay } from "./attach-relay.ts";
import type { Counters } from "./counters.ts";
import { serveFollow } from "./follow-socket.ts";
import { LIVE_PROTOCOLS, serveLive } from "./live-socket.ts";
import type { RecordedSession } from "./recorded-session.ts";
import type { Replays } from "./replays.ts";
import { asBuffer } from "./role-link.ts";
import type { Run } from "./run.ts";
import type { Shell } from "./shell.ts";
import { closeSocket, openServer, sendJson, type Heartbeat, type Upgrade } from "./socket.ts";

const MAX_PAYLOAD = 1024 * 1024;

export interface ViewerSocketsOptions {
  replays: Replays;
  counters: Counters;
  heartbeat: Heartbeat;
  log: Log;
}

/** The WebSockets of people: terminal windows, followers of events, and players of what is recorded now. */
export class ViewerSockets {
  readonly #options: ViewerSocketsOptions;
  readonly #server = openServer(MAX_PAYLOAD);
  readonly #live = openServer(
    MAX_PAYLOAD,
    (offered) => LIVE_PROTOCOLS.find((name) => offered.has(name)) ?? false,
  );
  readonly #open = new Set<WebSocket>();

  constructor(options: ViewerSocketsOptions) {
    this.#options = options;
  }

  /** How many are open now. */
  get size(): number {
    return this.#open.size;
  }

  has(socket: WebSocket): boolean {
    return this.#open.has(socket);
  }

  /** A window, a follower or a player of a run. Throws `not_found` for another face. */
  serve(upgrade: Upgrade, { run, face, url }: { run: Run; face: string; url: URL }): void {
    if (face === "follow") {
      const from = fromOf(url);
      return this.#viewer(this.#server, upgrade, (socket) => {
        this.#onlyListens(socket);
        serveFollow(socket, run, from).catch((error: unknown) =>
          this.#failed(socket, run.id, error),
        );
      });
    }
    if (face === "live") return this.#liveView(upgrade, run);
    if (face === "attach") {
      const write = writeOf(url);
      if (write && !run.info.interactive)
        throw new PlatformError("read_only", `Run "${run.id}" takes no input from people`, {
          fix: "attach without --write",
        });
      const from = url.searchParams.has("from") ? fromOf(url) : null;
      const historyRows = historyOf(url);
      return this.#viewer(this.#server, upgrade, (socket) => {
        this.#attach(socket, run.relay, { write, from, historyRows });
        if (!run.isLive) run.relay.end("Run ended");
      });
    }
    throw new PlatformError("not_found", `No WebSocket at ${url.pathname}`);
  }

  /** A shell is for the one who opened it: who connects may type. Others see its recording, live. */
  serveShell(
    upgrade: Upgrade,
    { shell, face, url }: { shell: Shell; face: string; url: URL },
  ): void {
    if (face === "live") return this.#liveView(upgrade, shell);
    if (face !== "attach") throw new PlatformError("not_found", `No WebSocket at ${url.pathname}`);
    const from = url.searchParams.has("from") ? fromOf(url) : null;
    this.#viewer(this.#server, upgrade, (socket) => {
      // A grant is for one shell: what is over is not opened again.
      const { over } = shell;
      if (over === null) return this.#attach(socket, shell.relay, { write: true, from });
      sendJson(socket, { kind: "ended", reason: over } satisfies AttachMessage);
      closeSocket(socket, 1000, over);
    });
  }

  #liveView(upgrade: Upgrade, session: RecordedSession): void {
    const offered = (upgrade.request.headers["sec-websocket-protocol"] ?? "").split(/\s*,\s*/);
    if (!LIVE_PROTOCOLS.some((name) => offered.includes(name)))
      throw new PlatformError(
        "bad_request",
        `Expected one of the WebSocket protocols ${LIVE_PROTOCOLS.join(", ")}`,
      );
    this.#viewer(this.#live, upgrade, (socket) => {
      this.#onlyListens(socket);
      serveLive(socket, session, this.#options.replays).catch((error: unknown) =>
        this.#failed(socket, session.session, error),
      );
    });
  }

  #attach(
    socket: WebSocket,
    relay: AttachRelay,
    options: { write: boolean; from: number | null; historyRows?: number },
  ): void {
    relay.join(socket, options);
    socket.on("message", (data, binary) => {
      const bytes = asBuffer(data);
      if (binary) return relay.input(socket, bytes);
      try {
        const message = parseJson("an attach message", AttachMessage, bytes.toString("utf8"));
        if (message.kind !== "resize")
          throw new PlatformError("bad_message", `Expected resize, got ${message.kind}`);
        relay.resize(socket, { cols: message.cols, rows: message.rows });
      } catch (error) {
        this.#options.counters.badMessages += 1;
        closeSocket(socket, CloseCode.badMessage, error instanceof Error ? error.message : "");
      }
    });
  }

  #viewer(
    server: WebSocketServer,
    { request, stream, head }: Upgrade,
    serve: (socket: WebSocket) => void,
  ): void {
    server.handleUpgrade(request, stream, head, (socket) => {
      this.#options.heartbeat.watch(socket);
      this.#open.add(socket);
      socket.once("close", () => this.#open.delete(socket));
      // A message that is none, or too large; ws has begun to close it.
      socket.on("error", () => {
        this.#options.counters.badMessages += 1;
        closeSocket(socket, CloseCode.badMessage, "Expected WebSocket frames");
      });
      serve(socket);
    });
  }

  #onlyListens(socket: WebSocket): void {
    socket.once("message", () => {
      this.#options.counters.badMessages += 1;
      closeSocket(socket, CloseCode.badMessage, "Expected no message");
    });
  }

  #failed(socket: WebSocket, session: string, error: unknown): void {
    this.#options.log.error({ session, err: error }, "viewer could not be served");
    closeSocket(socket, 1011, "The manager failed; see its log");
  }
}

/** `?write=1`: what comes from the window goes to the program. */
function writeOf(url: URL): boolean {
  const text = url.searchParams.get("write") ?? "0";
  if (text === "0" || text === "1") return text === "1";
  throw new PlatformError("bad_request", `Expected write as 0 or 1, got "${text.slice(0, 32)}"`);
}

/** `?history=ROWS`: rows above the screen that the window wants as well, at most 5,000. */
function historyOf(url: URL): number {
  const text = url.searchParams.get("history") ?? "0";
  if (/^[0-9]{1,4}$/.test(text) && Number(text) <= 5000) return Number(text);
  throw new PlatformError(
    "bad_request",
    `Expected history as a number of rows up to 5000, got "${text.slice(0, 32)}"`,
  );
}
