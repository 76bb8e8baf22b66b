import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { readJsonLines, writeJsonLine } from "../kit/json-lines.ts";
import type { Log } from "../kit/log.ts";
import { messageOf, PlatformError } from "../kit/platform-error.ts";
import { ChildStatus } from "../protocol/child-status.ts";
import type { ChildCommand } from "../protocol/run-spec.ts";
import { childEnvironment } from "./child-environment.ts";
import { SMALL_HEAP, SMALL_MALLOC } from "./node-options.ts";

const READY_LIMIT_MS = 30_000;
/** A child that dies more often than this is beyond restarting. */
const RESTARTS = { most: 5, withinMs: 60_000 } as const;

export interface ChildOptions {
  readonly verb: "agentlet" | "tool-runner" | "session-recorder";
  /** the first line of its standard input: tokens and secrets */
  readonly boot: unknown;
  /** how to run this program: node and its arguments up to the verb */
  readonly self: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly specPath: string;
  /** its standard error is appended here */
  readonly logPath: string;
  readonly log: Log;
  onStatus(status: ChildStatus): void;
}

/** One process of a run. Its standard input stays open for as long as the supervisor lives. */
export class Child {
  readonly pid: number | undefined;
  /** settles once; rejects with the fault it named, or when it ended or took more than 30 s */
  readonly ready: Promise<void>;
  /** how it ended, in words; never rejects */
  readonly exited: Promise<string>;
  readonly #process: ChildProcess;

  constructor(options: ChildOptions) {
    const [program, ...args] = [...options.self, options.verb];
    args.unshift(...SMALL_HEAP);
    const errors = openSync(options.logPath, "a", 0o600);
    try {
      this.#process = spawn(program, args, {
        cwd: "/",
        env: childEnvironment(options.env, {
          ...SMALL_MALLOC,
          AGENTKUBE_RUN_SPEC: options.specPath,
        }),
        stdio: ["pipe", "pipe", errors],
      });
    } finally {
      closeSync(errors);
    }
    this.pid = this.#process.pid;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.ready = promise;
    promise.catch(() => {});
    this.exited = new Promise((settle) => {
      this.#process.once("error", (error) => settle(`could not be started: ${messageOf(error)}`));
      this.#process.once("exit", (code, signal) =>
        settle(code === null ? `was ended by ${signal ?? "a signal"}` : `ended with code ${code}`),
      );
    });
    const timer = setTimeout(
      () => reject(this.#notReady(options, `was not ready within ${READY_LIMIT_MS / 1000} s`)),
      READY_LIMIT_MS,
    );
    void this.exited.then((how) => reject(this.#notReady(options, how)));
    promise.then(
      () => clearTimeout(timer),
      () => clearTimeout(timer),
    );
    void this.#readStatus(options, resolve, reject);
    // A child that is already dead: its exit is reported by `exited`.
    this.#process.stdin?.on("error", () => {});
    this.#say(options.boot);
  }

  command(command: ChildCommand): void {
    this.#say(command);
  }

  /** Lets it end: for tool-runner and recorder the end of input means that nobody needs them. */
  closeInput(): void {
    this.#process.stdin?.end();
  }

  kill(): void {
    this.#process.kill("SIGKILL");
  }

  #say(value: unknown): void {
    const input = this.#process.stdin;
    if (input !== null && input.writable) writeJsonLine(input, value);
  }

  async #readStatus(
    options: ChildOptions,
    resolve: () => void,
    reject: (error: unknown) => void,
  ): Promise<void> {
    const output = this.#process.stdout;
    if (output === null) return;
    try {
      for await (const status of readJsonLines(
        `a status of ${options.verb}`,
        ChildStatus,
        output,
      )) {
        if (status.kind === "ready") resolve();
        if (status.kind === "fault")
          reject(
            new PlatformError(status.code, status.message, {
              ...(status.path === undefined ? {} : { path: status.path }),
              fix: status.fix ?? faultFix(status),
            }),
          );
        options.onStatus(status);
      }
    } catch (error) {
      // It speaks another language; without a status it cannot be trusted with the run.
      options.log.error({ child: options.verb, err: error }, "status of a child not understood");
      this.kill();
    }
  }

  #notReady(options: ChildOptions, how: string): PlatformError {
    return new PlatformError("child_failed", `Program ${options.verb} ${how} before it was ready`, {
      path: options.logPath,
      fix: "read its log, then run the same command again",
    });
  }
}

/** A child that is started again, with the same boot and all values that it was told to mask, when it dies before its time. */
export class KeptChild {
  readonly #options: ChildOptions & { onLost(cause: string): void; onRestart?(child: Child): void };
  readonly #deaths: number[] = [];
  readonly #gone = Promise.withResolvers<void>();
  readonly #redacted: ChildCommand[] = [];
  #child: Child;
  #mayEnd = false;

  constructor(
    options: ChildOptions & { onLost(cause: string): void; onRestart?(child: Child): void },
  ) {
    this.#options = options;
    this.#child = this.#start();
  }

  get ready(): Promise<void> {
    return this.#child.ready;
  }

  /** Settles when it has ended and is not started again. */
  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  command(command: ChildCommand): void {
    if (command.kind === "redact") this.#redacted.push(command);
    this.#child.command(command);
  }

  /** From now on its end is no loss. */
  mayEnd(): void {
    this.#mayEnd = true;
  }

  /** Ends it: closes its input, and kills it when it is still there after `limitMs`. */
  async end(limitMs: number): Promise<void> {
    this.mayEnd();
    this.#child.closeInput();
    const timer = setTimeout(() => {
      this.#options.log.warn(
        { child: this.#options.verb, limitMs },
        "child killed, it did not end",
      );
      this.#child.kill();
    }, limitMs);
    await this.#gone.promise;
    clearTimeout(timer);
  }

  #start(): Child {
    const child = new Child(this.#options);
    void child.exited.then((how) => this.#onExit(how));
    return child;
  }

  #onExit(how: string): void {
    const { log, verb } = this.#options;
    if (this.#mayEnd) {
      this.#gone.resolve();
      return;
    }
    const now = performance.now();
    this.#deaths.push(now);
    const recent = this.#deaths.filter((at) => now - at < RESTARTS.withinMs);
    if (recent.length > RESTARTS.most) {
      log.error({ child: verb, how, restarts: RESTARTS.most }, "child lost");
      this.#mayEnd = true;
      this.#gone.resolve();
      this.#options.onLost(
        `${verb} ${how}, the ${recent.length}th time in ${RESTARTS.withinMs / 1000} s`,
      );
      return;
    }
    log.warn({ child: verb, how }, "child restarted");
    try {
      this.#child = this.#start();
      for (const command of this.#redacted) this.#child.command(command);
      this.#options.onRestart?.(this.#child);
    } catch (error) {
      this.#mayEnd = true;
      this.#gone.resolve();
      this.#options.onLost(`${verb} could not be started again: ${messageOf(error)}`);
    }
  }
}

/** For a fault that names no fix of its own. */
function faultFix(status: { code: string }): string {
  if (status.code === "native_missing") return "run npm run setup in agentkube's directory";
  if (status.code.startsWith("sandbox_")) return "run agentkube doctor";
  return "read the logs of the run, then run the same command again";
}
