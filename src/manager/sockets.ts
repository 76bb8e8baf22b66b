import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { Log } from "../kit/log.ts";
import { PlatformError } from "../kit/platform-error.ts";
import { CloseCode } from "../protocol/recording-link.ts";
import type { Counters } from "./counters.ts";
import type { Guard } from "./guard.ts";
import type { Replays } from "./replays.ts";
import { errorReply, urlOf } from "./reply.ts";
import { RoleSockets } from "./role-sockets.ts";
import type { RunnerReports } from "./runner-reports.ts";
import type { Runs } from "./runs.ts";
import { shellOf } from "./shell-routes.ts";
import { closeSocket, Heartbeat, type Upgrade } from "./socket.ts";
import { ViewerSockets } from "./viewer-sockets.ts";

/** Every WebSocket of the manager: who may open it, and what serves it. */
export class Sockets implements AsyncDisposable {
  readonly #runs: Runs;
  readonly #guard: Guard;
  readonly #heartbeat = new Heartbeat();
  readonly #roles: RoleSockets;
  readonly #viewers: ViewerSockets;
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
    this.#guard = options.guard;
    this.#roles = new RoleSockets({ ...options, heartbeat: this.#heartbeat });
    this.#viewers = new ViewerSockets({ ...options, heartbeat: this.#heartbeat });
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
      this.#route({ request, stream, head });
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

  #route(upgrade: Upgrade): void {
    const { request } = upgrade;
    if (this.#closing) throw new PlatformError("unavailable", "The manager is stopping");
    if (!this.#guard.isOwnOrigin(request))
      throw new PlatformError("foreign_origin", "Expected the manager's own Host and Origin");
    const url = urlOf(request);
    const recording = /^\/v1\/recordings\/([a-z0-9-]{1,63})(?:\.([0-9a-f]{16}))?$/.exec(
      url.pathname,
    );
    if (recording !== null)
      return this.#roles.serve(
        upgrade,
        "recorder",
        this.#runs.get(recording[1] ?? ""),
        recording[2],
      );
    const match = /^\/v1\/runs\/([a-z0-9-]{1,63})(?:\/shells\/([0-9a-f]{16}))?\/([a-z]+)$/.exec(
      url.pathname,
    );
    const [, id = "", grant, face = ""] = match ?? [];
    const run = this.#runs.get(id);
    if (face === "agentlet" && grant === undefined)
      return this.#roles.serve(upgrade, "agentlet", run);
    if (face === "audit" && grant === undefined) return this.#roles.serve(upgrade, "runner", run);
    if (this.#guard.operator(request) === null)
      throw new PlatformError("unauthorized", "Expected the operator token");
    if (run === undefined)
      throw new PlatformError("unknown_run", `No WebSocket at ${url.pathname}`);
    if (grant === undefined) return this.#viewers.serve(upgrade, { run, face, url });
    this.#viewers.serveShell(upgrade, { shell: shellOf(run, grant), face, url });
  }
}

function refuseUpgrade(stream: Duplex, status: number, body: string): void {
  stream.end(
    `HTTP/1.1 ${status} Refused\r\nconnection: close\r\ncache-control: no-store\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}
