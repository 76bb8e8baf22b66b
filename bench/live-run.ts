import http from "node:http";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import timers from "node:timers/promises";
import { text } from "node:stream/consumers";
import type { IncomingMessage } from "node:http";
import type { Lab } from "../test/helpers/lab.ts";
import { anAgent } from "../test/helpers/manifests.ts";
import { ownLab } from "./belongings.ts";

const START_MS = 30_000;

/** A run by the real command line whose agent only sleeps, so that its parts can be measured from outside. */
export interface LiveRun extends AsyncDisposable {
  readonly lab: Lab;
  /** agent-facing socket of the tool-runner; clients at it pass by the agentlet's relay */
  readonly socketPath: string;
  readonly agentToken: string;
}

/** Starts `agentkube run` with these Tool documents; resolves when the agent works: it sleeps, unless given something else for its shell. */
export async function openLiveRun(tools: object[], work = "exec sleep 900"): Promise<LiveRun> {
  const owned = ownLab();
  const { lab } = owned;
  try {
    const names = tools.map((tool) => (tool as { metadata: { name: string } }).metadata.name);
    const agent = anAgent(
      `printf %s "$AGENTKUBE_AGENT_TOKEN" >token.new; mv token.new token; ${work}`,
      { timeout: "15m", tools: names },
    );
    const manifest = lab.write("agent.yaml", [agent, ...tools]);
    const cli = lab.run([manifest], { timeoutMs: 900_000 });
    let isOver = false;
    void cli.ended.catch(() => undefined).then(() => (isOver = true));
    const deadline = performance.now() + START_MS;
    for (;;) {
      const agentToken = readOrNull(path.join(lab.workspace, "token"));
      const [socketPath] = globSync(path.join(lab.runtime, "*/run.sock"));
      if (agentToken !== null && socketPath !== undefined)
        return Object.assign(owned, { socketPath, agentToken });
      if (isOver || performance.now() > deadline)
        throw new Error(
          `Expected a live run within ${START_MS} ms, got: ${cli.stdout}${cli.stderr}`,
        );
      await timers.setTimeout(20);
    }
  } catch (error) {
    await owned[Symbol.asyncDispose]();
    throw error;
  }
}

/** A lean MCP client: one kept-alive connection for each call at a time, JSON in, the result's event out. */
export class McpCaller implements Disposable {
  readonly #agent = new http.Agent({ keepAlive: true });
  readonly #run: LiveRun;
  #lastId = 0;

  constructor(run: LiveRun) {
    this.#run = run;
  }

  /** Calls an operation that takes nothing. Throws unless its result says success. */
  async call(name: string): Promise<void> {
    const body = JSON.stringify({
      jsonrpc: "2.0",
      id: ++this.#lastId,
      method: "tools/call",
      params: { name, arguments: {} },
    });
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    http
      .request(
        {
          agent: this.#agent,
          socketPath: this.#run.socketPath,
          method: "POST",
          path: "/mcp",
          headers: {
            host: "127.0.0.1",
            authorization: `Bearer ${this.#run.agentToken}`,
            "content-type": "application/json",
            "content-length": Buffer.byteLength(body),
            accept: "application/json, text/event-stream",
          },
        },
        resolve,
      )
      .on("error", reject)
      .end(body);
    const response = await promise;
    const said = await text(response);
    if (response.statusCode !== 200 || !/"result":/.test(said) || /"isError":true/.test(said))
      throw new Error(`Expected a result of ${name}, got ${response.statusCode}: ${said}`);
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

function readOrNull(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return null;
  }
}
