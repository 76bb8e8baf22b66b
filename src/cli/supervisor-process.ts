import { spawn } from "node:child_process";
import { readJsonLines, writeJsonLine } from "../kit/json-lines.ts";
import { messageOf, PlatformError } from "../kit/platform-error.ts";
import { SupervisorReport, type SupervisorRequest } from "./supervisor-request.ts";

/** How a process ended. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A supervisor as `run` sees it. It goes on when `run` goes away. */
export interface SupervisorProcess {
  /** the run, once the manager knows it; rejects with the refusal or fault that came instead */
  readonly registered: Promise<{ run: string; agent: string }>;
  /** all programs are ready; rejects when they could not be started */
  readonly started: Promise<void>;
  /** never rejects */
  readonly exited: Promise<ProcessEnd>;
  /** the Agent's name, once it was read */
  readonly agent: string | null;
  /** Asks for the end of the run. */
  stop(): void;
  /** Ends a supervisor that does not answer, with all it started in its process group. */
  kill(): void;
  /** Lets this process end while the supervisor goes on. */
  leave(): void;
}

const MAX_STDERR = 4096;

/** Starts a supervisor, detached, and hands it the request. `onNote` is called for what a person should know. */
export function startSupervisor(
  request: SupervisorRequest,
  outside: { self: readonly string[]; env: Readonly<Record<string, string | undefined>> },
  onNote: (message: string) => void,
): SupervisorProcess {
  const [program, ...args] = [...outside.self, "supervisor"];
  const child = spawn(program, args, {
    cwd: "/",
    // The whole environment: `--secret X=env:VAR` is read there.
    env: { ...outside.env },
    detached: true,
    stdio: ["pipe", "pipe", "pipe"],
  });
  const registered = Promise.withResolvers<{ run: string; agent: string }>();
  const started = Promise.withResolvers<void>();
  registered.promise.catch(() => {});
  started.promise.catch(() => {});
  let agent: string | null = null;
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => {
    stderr = (stderr + chunk.toString("utf8")).slice(-MAX_STDERR);
  });
  const fail = (error: PlatformError): void => {
    registered.reject(error);
    started.reject(error);
  };
  const exited = new Promise<ProcessEnd>((resolve) => {
    child.once("error", (error) => {
      fail(
        new PlatformError("supervisor_failed", `Cannot start the supervisor: ${messageOf(error)}`, {
          cause: error,
        }),
      );
      resolve({ code: null, signal: null });
    });
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
  void exited.then(({ code, signal }) =>
    fail(
      new PlatformError(
        "supervisor_failed",
        `Supervisor ended with ${signal ?? code ?? "an unknown status"} before the run was started${stderr === "" ? "" : `: ${stderr.trim()}`}`,
        { fix: "run the same command again; run agentkube doctor if it stays" },
      ),
    ),
  );
  const onReport = (report: SupervisorReport): void => {
    switch (report.kind) {
      case "note":
        return onNote(report.message);
      case "registered":
        agent = report.agent;
        return registered.resolve(report);
      case "started":
        return started.resolve();
      case "fault": {
        agent = report.agent;
        const { code, message, path, fix } = report;
        return fail(
          new PlatformError(code, message, {
            ...(path === undefined ? {} : { path }),
            ...(fix === undefined ? {} : { fix }),
          }),
        );
      }
    }
  };
  void (async () => {
    try {
      for await (const report of readJsonLines(
        "a report of the supervisor",
        SupervisorReport,
        child.stdout,
      ))
        onReport(report);
    } catch (error) {
      fail(new PlatformError("supervisor_failed", messageOf(error), { cause: error }));
    }
  })();
  // A supervisor that dies before it has read everything is reported by its exit.
  child.stdin.on("error", () => {});
  writeJsonLine(child.stdin, request);
  // Open until the run is registered: if this process dies before, the supervisor sees the end and starts nothing.
  void registered.promise.then(
    () => child.stdin.end(),
    () => child.stdin.destroy(),
  );
  return {
    registered: registered.promise,
    started: started.promise,
    exited,
    get agent() {
      return agent;
    },
    stop: () => void child.kill("SIGTERM"),
    kill: () => {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch {
        child.kill("SIGKILL");
      }
    },
    leave: () => {
      child.unref();
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
    },
  };
}
