import { request } from "node:http";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { WebSocket } from "ws";
import * as z from "zod";
import { parseJson } from "../kit/json-lines.ts";
import { connectToOwn } from "../kit/own-connection.ts";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import type { GrantId } from "../protocol/ids.ts";
import {
  ActResult,
  Health,
  ManagerFile,
  RunInfo,
  RunList,
  ShellInfo,
  ShellList,
  type AnswerRun,
  type FinishRun,
  type OpenShell,
  type PromptRun,
  type RegisterRun,
} from "../protocol/manager-api.ts";
import { openManagerSocket } from "../protocol/manager-socket.ts";
import { MetricList, type Metric } from "../protocol/metrics.ts";
import { ApiError } from "../protocol/tool-api.ts";
import { requireProtocol } from "../protocol/version.ts";

const Shutdown = z.strictObject({ exits: z.boolean() });

/** Answers are bounded: no list of the manager is larger. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;
const TIMEOUT_MS = 10_000;
/** Longer than the manager waits for an act. */
const ACT_MS = 100_000;

/** What the data directory says of its manager; null when none was ever there or the file is not whole. */
export async function readManagerFile(dataDir: string): Promise<ManagerFile | null> {
  let text: string;
  try {
    text = await readFile(join(dataDir, "manager.json"), "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return null;
    throw new PlatformError(
      "data_dir_unusable",
      `Cannot read "${join(dataDir, "manager.json")}": ${errnoOf(error) ?? messageOf(error)}`,
      { path: dataDir, fix: "give a directory of your own with --data DIR", cause: error },
    );
  }
  try {
    const file = parseJson("manager.json", ManagerFile, text);
    requireProtocol("the manager of this data directory", file.protocol);
    return file;
  } catch (error) {
    if (error instanceof PlatformError) return null;
    throw error;
  }
}

/** A client of the manager that runs for a data directory; null when none answers. */
export async function findManager(dataDir: string): Promise<ManagerClient | null> {
  const file = await readManagerFile(dataDir);
  // The port of a manager that is gone may be a stranger's by now, who must not be sent our token.
  if (file === null || !isOurs(file.pid)) return null;
  const client = new ManagerClient(file);
  return (await client.isHealthy()) ? client : null;
}

/** Whether a process that we may signal has that pid. */
function isOurs(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** The operator's HTTP and WebSocket calls to one manager, typed. Every answer is parsed. */
export class ManagerClient {
  readonly pid: number;
  readonly port: number;
  readonly #token: string;

  constructor(file: { pid: number; port: number; token: string }) {
    this.pid = file.pid;
    this.port = file.port;
    this.#token = file.token;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The address of a run's page, for whoever has opened a link before. */
  pageOf(run: string): string {
    return `${this.url}/#/runs/${run}`;
  }

  /** A link that opens the page. The operator token lies in the fragment, which no server is sent; a person may see it, a log must not. */
  linkOf(run: string | null): string {
    return `${this.url}/#token=${this.#token}${run === null ? "" : `&run=${run}`}`;
  }

  async health(timeoutMs = 2000): Promise<Health> {
    return parseJson("health", Health, await this.#call("GET", "/v1/health", undefined, timeoutMs));
  }

  /** True when a manager of our protocol answers to our token within two seconds. */
  async isHealthy(): Promise<boolean> {
    try {
      const health = await this.health();
      requireProtocol("the running manager", health.protocol);
      return true;
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "protocol_mismatch")
        throw error;
      return false;
    }
  }

  async metrics(): Promise<Metric[]> {
    return parseJson("the metrics", MetricList, await this.#call("GET", "/v1/metrics")).metrics;
  }

  /** The same in Prometheus' text format. */
  async metricsText(): Promise<string> {
    return await this.#call("GET", "/metrics");
  }

  async registerRun(run: RegisterRun): Promise<void> {
    await this.#call("POST", "/v1/runs", run);
  }

  async finishRun(run: string, finish: FinishRun): Promise<void> {
    await this.#call("POST", `/v1/runs/${run}/end`, finish);
  }

  async runs(): Promise<RunInfo[]> {
    return parseJson("the list of runs", RunList, await this.#call("GET", "/v1/runs")).runs;
  }

  async run(run: string): Promise<RunInfo> {
    return parseJson("a run", RunInfo, await this.#call("GET", `/v1/runs/${run}`));
  }

  /** The events of a run so far, oldest first, as they were kept. */
  async events(run: string): Promise<unknown[]> {
    const text = await this.#call("GET", `/v1/runs/${run}/events`);
    return parseJson("the events of a run", z.array(z.unknown()), text);
  }

  /** Gives the CLI of a run a prompt; resolves when it is shown to have arrived, or not to. */
  async prompt(run: string, prompt: PromptRun): Promise<ActResult> {
    return await this.#act(`/v1/runs/${run}/prompt`, prompt);
  }

  /** Answers what the CLI of a run asks. */
  async answer(run: string, answer: AnswerRun): Promise<ActResult> {
    return await this.#act(`/v1/runs/${run}/answer`, answer);
  }

  /** Breaks off the turn of a run's CLI. */
  async interrupt(run: string): Promise<ActResult> {
    return await this.#act(`/v1/runs/${run}/interrupt`, {});
  }

  async #act(path: string, body: unknown): Promise<ActResult> {
    return parseJson("what became of it", ActResult, await this.#call("POST", path, body, ACT_MS));
  }

  /** Asks the agentlet to stop the run; returns at once. */
  async stop(run: string): Promise<void> {
    await this.#call("POST", `/v1/runs/${run}/stop`, {});
  }

  /** Ends the manager when no run is live and nobody watches; says whether it will end. */
  async shutdownIfIdle(): Promise<boolean> {
    const answer = await this.#call("POST", "/v1/shutdown-if-idle", {});
    return parseJson("the answer to a shutdown", Shutdown, answer).exits;
  }

  /** A socket to the terminal of a run; it is not open yet. */
  attach(
    run: string,
    options: { write: boolean; from: number | null; shell?: GrantId },
  ): WebSocket {
    const from = options.from === null ? "" : `&from=${options.from}`;
    const shell = options.shell === undefined ? "" : `/shells/${options.shell}`;
    return this.#socket(`/v1/runs/${run}${shell}/attach?write=${options.write ? 1 : 0}${from}`);
  }

  /** Asks for a grant to open a shell in the run's zone A; the first attach to it opens it. */
  async openShell(run: string, wish: OpenShell): Promise<ShellInfo> {
    const answer = await this.#call("POST", `/v1/runs/${run}/shells`, wish);
    return parseJson("a shell", ShellInfo, answer);
  }

  async shell(run: string, grant: GrantId): Promise<ShellInfo> {
    const answer = await this.#call("GET", `/v1/runs/${run}/shells/${grant}`);
    return parseJson("a shell", ShellInfo, answer);
  }

  /** The shells that the run has had, the newest first. */
  async shells(run: string): Promise<ShellInfo[]> {
    const answer = await this.#call("GET", `/v1/runs/${run}/shells`);
    return parseJson("the list of shells", ShellList, answer).shells;
  }

  async closeShell(run: string, grant: GrantId): Promise<void> {
    await this.#call("DELETE", `/v1/runs/${run}/shells/${grant}`);
  }

  /** A socket on which the manager says events and changes of a run, as `FollowMessage` texts. */
  follow(run: string): WebSocket {
    return this.#socket(`/v1/runs/${run}/follow`);
  }

  #socket(path: string): WebSocket {
    return openManagerSocket({ url: this.url, own: true }, path, this.#token, {
      handshakeTimeout: TIMEOUT_MS,
      maxPayload: 64 * 1024 * 1024,
    });
  }

  #call(method: string, path: string, body?: unknown, timeoutMs = TIMEOUT_MS): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const outgoing = request(
      {
        host: "127.0.0.1",
        port: this.port,
        method,
        path,
        createConnection: connectToOwn,
        headers: {
          authorization: `Bearer ${this.#token}`,
          ...(payload === undefined
            ? {}
            : { "content-type": "application/json", "content-length": Buffer.byteLength(payload) }),
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > MAX_ANSWER_BYTES) response.destroy(new Error("Answer is too large"));
          chunks.push(chunk);
        });
        response.once("error", reject);
        response.once("end", () => {
          const text = Buffer.concat(chunks).toString("utf8");
          const status = response.statusCode ?? 0;
          if (status >= 200 && status < 300) resolve(text);
          else reject(refusalOf(status, text));
        });
      },
    );
    // A whole-call limit: an idle-socket timeout would never fire on a trickle.
    const timer = setTimeout(
      () => outgoing.destroy(new Error(`No answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    outgoing.once("close", () => clearTimeout(timer));
    outgoing.once("error", (error) =>
      reject(
        new PlatformError(
          "manager_unreachable",
          `Cannot reach the manager at ${this.url}: ${errnoOf(error) ?? messageOf(error)}`,
          { retryable: true, cause: error, fix: "see manager.log in the data directory" },
        ),
      ),
    );
    outgoing.end(payload);
    return promise;
  }
}

function refusalOf(status: number, text: string): PlatformError {
  try {
    const { error } = parseJson("an error of the manager", ApiError, text);
    return new PlatformError(
      error.code,
      error.message,
      error.fix === undefined ? {} : { fix: error.fix },
    );
  } catch {
    return new PlatformError("manager_refused", `Manager answered with status ${status}`);
  }
}
