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

export interface RoleSocketsOptions {
  guard: Guard;
  counters: Counters;
  reports: RunnerReports;
  heartbeat: Heartbeat;
  log: Log;
}

/** The WebSockets of a run's own programs: agentlet, recorder and tool-runner, each with a token of its own. */
export class RoleSockets {
  readonly #options: RoleSocketsOptions;
  readonly #admission = new Admission();
  readonly #servers: Record<Role, WebSocketServer> = {
    agentlet: openServer(16 * 1024 * 1024),
    recorder: openServer(2 * MAX_APPEND_BYTES),
    runner: openServer(256 * 1024),
  };

  constructor(options: RoleSocketsOptions) {
    this.#options = options;
  }

  /** A role without its token is told so by a close code, which its program can read. */
  serve(
    { request, stream, head }: Upgrade,
    role: Role,
    run: Run | undefined,
    grant?: string,
  ): void {
    const allowed = this.#options.guard.isRole(request, run, role);
    this.#servers[role].handleUpgrade(request, stream, head, (socket) => {
      this.#options.heartbeat.watch(socket);
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
    const { log, counters } = this.#options;
    return { log, counters, admission: this.#admission };
  }

  #serveShellRecorder(socket: WebSocket, run: Run, grant: string): void {
    const shell = run.shells.get(grant);
    if (shell === undefined)
      return closeSocket(socket, CloseCode.notFound, "No shell was granted under this id");
    socket.once("close", () => {
      if (!shell.isLive)
        shell
          .closeFiles()
          .catch((error: unknown) => this.#options.log.error({ err: error }, "not closed"));
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
        run
          .closeFiles()
          .catch((error: unknown) => this.#options.log.error({ err: error }, "not closed"));
    });
    const refuse = (error: unknown): void => {
      this.#options.log.error({ run: run.id, role, err: error }, "journal could not be written");
      closeSocket(socket, CloseCode.unavailable, "The manager cannot write; send again later");
    };
    if (role === "recorder") serveLink(socket, run, recorderLink(socket, run, tools), tools);
    else if (role === "agentlet") serveLink(socket, run, agentletLink(socket, run, refuse), tools);
    else serveLink(socket, run, runnerLink(socket, run, this.#options.reports, refuse), tools);
  }
}
