// Requests of a tool in a real sandbox through the boundary of its call, as a tool-runner opens both, and the same client outside, straight.
import { execFile } from "node:child_process";
import path from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { silentLog } from "../src/kit/log.ts";
import { openSandbox } from "../src/kit/sandbox.ts";
import { createCallId } from "../src/protocol/ids.ts";
import { Boundary } from "../src/tool-runner/boundary/boundary.ts";
import { benchGrant } from "./boundary-grant.ts";
import { answer } from "./forked.ts";
import { toolPlan } from "./plans.ts";
import type { ToolClientAnswer, ToolClientQuestion } from "./tool-client.ts";

export interface SandboxedQuestion {
  host: string;
  upstream: { port: number; caPem: string };
  token: string;
  /** requests on a connection that is kept, in each round */
  turns: number;
  rounds: number;
}

export interface SandboxedAnswer {
  sandboxed: ToolClientAnswer;
  direct: ToolClientAnswer;
}

const PROXY_PORT = 3128;
const NODE = "/opt/node";
const BENCH = "/opt/bench";
const bench = fileURLToPath(new URL(".", import.meta.url));

answer(async (question: SandboxedQuestion): Promise<SandboxedAnswer> => {
  const { host, upstream, token, turns, rounds } = question;
  const boundary = new Boundary({
    run: "bench-run",
    log: silentLog,
    onRequest: () => undefined,
    hosts: [host],
  });
  const grant = benchGrant(host, upstream, token);
  const common = { host, port: upstream.port, turns };
  const all: SandboxedAnswer = {
    sandboxed: { kept: [], fresh: [] },
    direct: { kept: [], fresh: [] },
  };
  for (let round = 0; round < rounds; round++) {
    const inside = { ...common, proxyPort: PROXY_PORT, caPem: boundary.caPem, token: "" };
    add(all.sandboxed, await sandboxed(inside));
    add(all.direct, await direct({ ...common, proxyPort: null, caPem: upstream.caPem, token }));
  }
  return all;

  async function sandboxed(asked: ToolClientQuestion): Promise<string> {
    const plan = toolPlan([`${NODE}/node`, `${BENCH}/tool-client.ts`, JSON.stringify(asked)]);
    plan.binds.push(
      { source: path.dirname(process.execPath), target: NODE, mode: "ro" },
      { source: bench, target: BENCH, mode: "ro" },
    );
    await using sandbox = await openSandbox(
      plan,
      { stdin: "ignore", stdout: "pipe", stderr: "pipe" },
      new AbortController().signal,
    );
    const listener = sandbox.listeners.get(PROXY_PORT);
    if (listener === undefined || sandbox.stdout === null || sandbox.stderr === null)
      throw new Error("Expected a sandbox with a listener and pipes");
    const said = Promise.all([text(sandbox.stdout), text(sandbox.stderr)]);
    sandbox.stdout.resume();
    sandbox.stderr.resume();
    await using _call = await boundary.openCall({ ...grant, call: createCallId() }, listener);
    const exit = await sandbox.toolExit;
    const [out, problem] = await said;
    if (exit.kind !== "exited" || exit.code !== 0)
      throw new Error(`The client in the sandbox ended as ${JSON.stringify(exit)}: ${problem}`);
    return out;
  }
});

async function direct(asked: ToolClientQuestion): Promise<string> {
  const words = [path.join(bench, "tool-client.ts"), JSON.stringify(asked)];
  return (await promisify(execFile)(process.execPath, words)).stdout;
}

function add(to: ToolClientAnswer, said: string): void {
  const { kept, fresh } = JSON.parse(said) as ToolClientAnswer;
  to.kept.push(...kept);
  to.fresh.push(...fresh);
}
