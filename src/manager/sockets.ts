import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer, type WebSocket } from "ws";
import { parseJson } from "../kit/json-lines.ts";
import type { Log } from "../kit/log.ts";
import { PlatformError } from "../kit/platform-error.ts";
import { AttachMessage } from "../protocol/agentlet-link.ts";
import { CloseCode, MAX_APPEND_BYTES } from "../protocol/recording-link.ts";
import { Admission } from "./admission.ts";
import { agentletLink } from "./agentlet-link.ts";
import type { AttachRelay } from "./attach-relay.ts";
import { fromOf } from "./api.ts";
import type { Counters } from "./counters.ts";
import { serveFollow } from "./follow-socket.ts";
import type { Guard } from "./guard.ts";
import { LIVE_PROTOCOLS, serveLive } from "./live-socket.ts";
import { recorderLink } from "./recorder-link.ts";
import type { Replays } from "./replays.ts";
import { errorReply, urlOf } from "./reply.ts";
import { asBuffer, serveLink } from "./role-link.ts";
import type { Role, Run } from "./run.ts";
import type { Runs } from "./runs.ts";
import type { RecordedSession } from "./recorded-session.ts";
import { shellOf } from "./shell-routes.ts";
import type { Shell } from "./shell.ts";
import { runnerLink } from "./runner-link.ts";
import type { RunnerReports } from "./runner-reports.ts";
import { closeSocket, Heartbeat, SpokenSocket } from "./socket.ts";

/** The largest message of each kind of sender; a larger one closes its connection with 1009. */
const MAX_PAYLOAD = {
  agentlet: 16 * 1024 * 1024,
  recorder: 2 * MAX_APPEND_BYTES,
  runner: 256 * 1024,
  person: 1024 * 1024,
};

/** Every WebSocket of the manager: who may open it, and what serves it. */
export class Sockets implements AsyncDisposable {
  readonly #runs: Runs;
  readonly #replays: Replays;
  readonly #guard: Guard;
  readonly #counters: Counters;
  readonly #reports: RunnerReports;
  readonly #log: Log;
  readonly #heartbeat = new Heartbeat();
  readonly #admission = new Admission();
  readonly #servers: Record<Role | "person", WebSocketServer>;
  readonly #live: WebSocketServer;
  readonly #viewers = new Set<WebSocket>();
  #closing = false;

  constructor(options: {
    runs: Runs;
    guard: Guard;
    counters: Counters;
    reports: RunnerReports;
    replays: Replays;
    log: Log;
  }) {
    this.#runs = options.runs;
    this.#replays = options.replays;
    this.#guard = options.guard;
    this.#counters = options.counters;
    this.#reports = options.reports;
    this.#log = options.log;
    // Compression costs more memory and time than the loopback would gain.
    const open = (maxPayload: number): WebSocketServer =>
      new WebSocketServer({
        noServer: true,
        perMessageDeflate: false,
        clientTracking: false,
        maxPayload,
        WebSocket: SpokenSocket,
      });
    this.#servers = {
      agentlet: open(MAX_PAYLOAD.agentlet),
      recorder: open(MAX_PAYLOAD.recorder),
      runner: open(MAX_PAYLOAD.runner),
      person: open(MAX_PAYLOAD.person),
    };
    this.#live = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      clientTracking: false,
      maxPayload: MAX_PAYLOAD.person,
      WebSocket: SpokenSocket,
      handleProtocols: (offered) => LIVE_PROTOCOLS.find((name) => offered.has(name)) ?? false,
    });
  }

  /** People's sockets that are open now. */
  get viewers(): number {
    return this.#viewers.size;
  }

  /** Answers an upgrade request: serves it, or refuses it. */
  upgrade(request: IncomingMessage, stream: Duplex, head: Buffer): void {
    // Between here and ws taking over, nobody else listens.
    const onError = (): void => {
      stream.destroy();
    };
    stream.on("error", onError);
    try {
      this.#route(request, stream, head);
    } catch (error) {
      const { status, body } = errorReply(error);
      refuseUpgrade(stream, status, `${JSON.stringify(body)}\n`);
    }
    stream.off("error", onError);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    const open = [...this.#heartbeat.sockets];
    const closed = open.map(
      async (socket) =>
        await new Promise<void>((resolve) => {
          if (socket.readyState === socket.CLOSED) resolve();
          else socket.once("close", () => resolve());
        }),
    );
    for (const socket of open)
      closeSocket(
        socket,
        this.#viewers.has(socket) ? 1001 : CloseCode.unavailable,
        "The manager is stopping",
      );
    await Promise.all(closed);
    this.#heartbeat[Symbol.dispose]();
  }

  #route(request: IncomingMessage, stream: Duplex, head: Buffer): void {
    if (this.#closing) throw new PlatformError("unavailable", "The manager is stopping");
    if (!this.#guard.isOwnOrigin(request))
      throw new PlatformError("foreign_origin", "Expected the manager's own Host and Origin");
    const url = urlOf(request);
    const recording = /^\/v1\/recordings\/([a-z0-9-]{1,63})(?:\.([0-9a-f]{16}))?$/.exec(
      url.pathname,
    );
    if (recording !== null)
      return this.#role(request, stream, head, "recorder", recording[1] ?? "", recording[2]);
    const match = /^\/v1\/runs\/([a-z0-9-]{1,63})(?:\/shells\/([0-9a-f]{16}))?\/([a-z]+)$/.exec(
      url.pathname,
    );
    const [, id = "", grant, face = ""] = match ?? [];
    if (face === "agentlet" && grant === undefined)
      return this.#role(request, stream, head, "agentlet", id);
    if (face === "audit" && grant === undefined)
      return this.#role(request, stream, head, "runner", id);
    if (this.#guard.operator(request) === null)
      throw new PlatformError("unauthorized", "Expected the operator token");
    const run = this.#runs.get(id);
    if (run === undefined)
      throw new PlatformError("unknown_run", `No WebSocket at ${url.pathname}`);
    if (grant === undefined) return this.#person(request, stream, head, { run, face, url });
    this.#shellPerson(request, stream, head, { shell: shellOf(run, grant), face, url });
  }

  /** A role without its token is told so by a close code, which its program can read. */
  #role(
    request: IncomingMessage,
    stream: Duplex,
    head: Buffer,
    role: Role,
    id: string,
    grant?: string,
  ): void {
    const run = this.#runs.get(id);
    const allowed = this.#guard.isRole(request, run, role);
    this.#servers[role].handleUpgrade(request, stream, head, (socket) => {
      this.#heartbeat.watch(socket);
      if (!allowed || run === undefined) {
        socket.on("error", () => socket.terminate());
        return closeSocket(
          socket,
          CloseCode.unauthorized,
          `Expected the ${role} token of this run`,
        );
      }
      if (grant === undefined) this.#serveRole(socket, run, role);
      else this.#serveShellRecorder(socket, run, grant);
    });
  }

  get #tools(): { log: Log; counters: Counters; admission: Admission } {
    return { log: this.#log, counters: this.#counters, admission: this.#admission };
  }

  #serveShellRecorder(socket: WebSocket, run: Run, grant: string): void {
    const shell = run.shells.get(grant);
    if (shell === undefined)
      return closeSocket(socket, CloseCode.notFound, "No shell was granted under this id");
    socket.once("close", () => {
      if (!shell.isLive)
        shell.closeFiles().catch((error: unknown) => this.#log.error({ err: error }, "not closed"));
    });
    const tools = this.#tools;
    serveLink(socket, shell, recorderLink(socket, shell, tools), tools);
  }

  #serveRole(socket: WebSocket, run: Run, role: Role): void {
    const tools = this.#tools;
    // The recorder may come late and still prove what it has; its file is closed again after it.
    if (!run.isLive && role !== "recorder") return closeSocket(socket, 1000, "Run ended");
    socket.once("close", () => {
      if (!run.isLive)
        run.closeFiles().catch((error: unknown) => this.#log.error({ err: error }, "not closed"));
    });
    const refuse = (error: unknown): void => {
      this.#log.error({ run: run.id, role, err: error }, "journal could not be written");
      closeSocket(socket, CloseCode.unavailable, "The manager cannot write; send again later");
    };
    if (role === "recorder") serveLink(socket, run, recorderLink(socket, run, tools), tools);
    else if (role === "agentlet") serveLink(socket, run, agentletLink(socket, run, refuse), tools);
    else serveLink(socket, run, runnerLink(socket, run, this.#reports, refuse), tools);
  }

  #person(
    request: IncomingMessage,
    stream: Duplex,
    head: Buffer,
    { run, face, url }: { run: Run; face: string; url: URL },
  ): void {
    if (face === "follow") {
      const from = fromOf(url);
      return this.#viewer(this.#servers.person, request, stream, head, (socket) => {
        this.#onlyListens(socket);
        serveFollow(socket, run, from).catch((error: unknown) =>
          this.#failed(socket, run.id, error),
        );
      });
    }
    if (face === "live") return this.#liveView(request, stream, head, run);
    if (face === "attach") {
      const write = url.searchParams.get("write") === "1";
      if (write && !run.info.interactive)
        throw new PlatformError("read_only", `Run "${run.id}" takes no input from people`, {
          fix: "attach without --write",
        });
      const from = url.searchParams.has("from") ? fromOf(url) : null;
      return this.#viewer(this.#servers.person, request, stream, head, (socket) => {
        const options = { write, from, historyRows: historyOf(url) };
        this.#attach(socket, run.relay, options);
        if (!run.isLive) run.relay.end("Run ended");
      });
    }
    throw new PlatformError("not_found", `No WebSocket at ${url.pathname}`);
  }

  /** A shell is for the one who opened it: who connects may type. Others see its recording, live. */
  #shellPerson(
    request: IncomingMessage,
    stream: Duplex,
    head: Buffer,
    { shell, face, url }: { shell: Shell; face: string; url: URL },
  ): void {
    if (face === "live") return this.#liveView(request, stream, head, shell);
    if (face !== "attach") throw new PlatformError("not_found", `No WebSocket at ${url.pathname}`);
    const from = url.searchParams.has("from") ? fromOf(url) : null;
    this.#viewer(this.#servers.person, request, stream, head, (socket) => {
      this.#attach(socket, shell.relay, { write: true, from });
      if (!shell.isLive) shell.relay.end(shell.info.reason ?? "The shell has ended");
    });
  }

  #liveView(
    request: IncomingMessage,
    stream: Duplex,
    head: Buffer,
    session: RecordedSession,
  ): void {
    const offered = (request.headers["sec-websocket-protocol"] ?? "").split(/\s*,\s*/);
    if (!LIVE_PROTOCOLS.some((name) => offered.includes(name)))
      throw new PlatformError(
        "bad_request",
        `Expected one of the WebSocket protocols ${LIVE_PROTOCOLS.join(", ")}`,
      );
    this.#viewer(this.#live, request, stream, head, (socket) => {
      this.#onlyListens(socket);
      serveLive(socket, session, this.#replays).catch((error: unknown) =>
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
        this.#counters.badMessages += 1;
        closeSocket(socket, CloseCode.badMessage, error instanceof Error ? error.message : "");
      }
    });
  }

  #viewer(
    server: WebSocketServer,
    request: IncomingMessage,
    stream: Duplex,
    head: Buffer,
    serve: (socket: WebSocket) => void,
  ): void {
    server.handleUpgrade(request, stream, head, (socket) => {
      this.#heartbeat.watch(socket);
      this.#viewers.add(socket);
      socket.once("close", () => this.#viewers.delete(socket));
      // A message that is none, or too large; ws has begun to close it.
      socket.on("error", () => {
        this.#counters.badMessages += 1;
        closeSocket(socket, CloseCode.badMessage, "Expected WebSocket frames");
      });
      serve(socket);
    });
  }

  #onlyListens(socket: WebSocket): void {
    socket.once("message", () => {
      this.#counters.badMessages += 1;
      closeSocket(socket, CloseCode.badMessage, "Expected no message");
    });
  }

  #failed(socket: WebSocket, session: string, error: unknown): void {
    this.#log.error({ session, err: error }, "viewer could not be served");
    closeSocket(socket, 1011, "The manager failed; see its log");
  }
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

function refuseUpgrade(stream: Duplex, status: number, body: string): void {
  stream.end(
    `HTTP/1.1 ${status} Refused\r\nconnection: close\r\ncache-control: no-store\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}
