import type { WebSocket, WebSocketServer } from "ws";
import type { Log } from "../kit/log.ts";
import { CloseCode, MAX_APPEND_BYTES } from "../protocol/recording-link.ts";
import { Admission } from "./admission.ts";
import { agentletLink } from "./agentlet-link.ts";
import type { Counters } from "./counters.ts";
import type { Guard } from "./guard.ts";
import { recorderLink } from "./recorder-link.ts";
import { serveLink } from "./role-link.ts";
import type { Role, Run } from "./run.ts";
import { runnerLink } from "./runner-link.ts";
import type { RunnerReports } from "./runner-reports.ts";
import { closeSocket, openServer, type Heartbeat, type Upgrade } from "./socket.ts";

/** The WebSockets of a run's own programs: agentlet, recorder and tool-runner, each with a token of its own. */
export class RoleSockets {
  readonly #guard: Guard;
  readonly #counters: Counters;
  readonly #reports: RunnerReports;
  readonly #heartbeat: Heartbeat;
  readonly #log: Log;
  readonly #admission = new Admission();
  readonly #servers: Record<Role, WebSocketServer> = {
    agentlet: openServer(16 * 1024 * 1024),
    recorder: openServer(2 * MAX_APPEND_BYTES),
    runner: openServer(256 * 1024),
  };

  constructor(options: {
    guard: Guard;
    counters: Counters;
    reports: RunnerReports;
    heartbeat: Heartbeat;
    log: Log;
  }) {
    this.#guard = options.guard;
    this.#counters = options.counters;
    this.#reports = options.reports;
    this.#heartbeat = options.heartbeat;
    this.#log = options.log;
  }

  /** A role without its token is told so by a close code, which its program can read. */
  serve(
    { request, stream, head }: Upgrade,
    role: Role,
    run: Run | undefined,
    grant?: string,
  ): void {
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
}
