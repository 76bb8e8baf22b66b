// A range for attacks: a real `agentkube run` whose agent sleeps, with hostile programs as its tools, and a look at everything that
// could have been seen afterwards. A case runs as a tool call; `sweep` then searches what came out, the files and the processes
// for secrets and for whatever outlived the call.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, globSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { json } from "node:stream/consumers";
import type { IncomingMessage } from "node:http";
import { until } from "./until.ts";
import { messageOf } from "../../src/kit/platform-error.ts";
import type { AuditRecord } from "../../src/protocol/audit.ts";
import { ToolCallReply } from "../../src/protocol/tool-api.ts";
import { openLab, repository } from "./lab.ts";
import type { Lab } from "./lab.ts";
import { aTool, addNode, anAgent } from "./manifests.ts";
import { trustedPartsOf } from "./run-parts.ts";
import {
  canariesIn,
  connectionsTo,
  processesOfCalls,
  settle,
  unixSocketsOf,
} from "./attack-sweep.ts";

const START_MS = 180_000;
const LIFE_MS = 20 * 60_000;
/** How soon the tool-runner must answer a call after an attack. */
const ANSWER_MS = 5000;

export type RequestRecord = Extract<AuditRecord, { type: "request" }>;
export type CallRecord = Extract<AuditRecord, { type: "call" }>;

export interface RangeOptions {
  /** each tool's spec besides its package and its one operation `run` */
  tools: Record<string, object>;
  /** NAME/KEY to value; these are the canaries that a sweep looks for */
  secrets?: Record<string, string | Buffer>;
  /** C programs (paths in the repository) that every tool finds compiled, without libraries, as /opt/tool/NAME */
  programs?: string[];
  /** further files of every tool's package: name to path on this machine; directories are copied whole */
  files?: Record<string, string>;
  /** puts this Node into the package, as /opt/tool/node */
  node?: boolean;
  /** more of the Agent's spec */
  agent?: object;
}

/** What came of one hostile call. */
export interface Attack extends ToolCallReply {
  /** its records in the audit: how it ended, and each request at the boundary */
  record: CallRecord;
  requests: RequestRecord[];
}

export interface AttackRange extends AsyncDisposable {
  readonly lab: Lab;
  /** Runs a shell script as one call of a tool and waits for its end and for its audit records. */
  attack(tool: string, script: string, options?: { timeoutMs?: number }): Promise<Attack>;
  /** The same without waiting for the audit, and without counting on a whole answer: the reply, or the error. */
  call(tool: string, script: string, signal?: AbortSignal): Promise<ToolCallReply>;
  /** Every record that the manager has, oldest first. */
  audit(): AuditRecord[];
  /**
   * Fails unless no canary is in any form in all that was said, in any file outside the configuration and in any process, no
   * process, socket or connection of a call is left, and the tool-runner answers. `said`: more texts to search.
   */
  sweep(options?: { said?: (string | Buffer)[]; upstreamPorts?: number[] }): Promise<void>;
}

/** Starts the run. Opening takes about two seconds; use one range for a suite. */
export async function openRange(options: RangeOptions): Promise<AttackRange> {
  const lab = openLab();
  try {
    const secrets = Object.entries(options.secrets ?? {});
    const words = secrets.map(
      ([id, value], index) =>
        `--secret=${id}=@${lab.write(`secret-${index}`, value as string, 0o600)}`,
    );
    writePackage(lab, options);
    const tools = Object.entries(options.tools).map(([name, spec]) => rangeTool(name, spec));
    const agent = anAgent(
      'printf %s "$AGENTKUBE_AGENT_TOKEN" >token.new; mv token.new token; exec sleep 1200',
      { timeout: "20m", tools: [...Object.keys(options.tools), "range-probe"], ...options.agent },
    );
    const manifest = lab.write("range.yaml", [agent, ...tools, rangeTool("range-probe", {})]);
    const cli = lab.run([manifest, ...words], { timeoutMs: LIFE_MS });
    let over: string | undefined;
    cli.ended.then(
      ({ text }) => (over = text),
      (error: unknown) => (over = messageOf(error)),
    );
    const token = path.join(lab.workspace, "token");
    const socketPath = await until(
      `a live run\n${cli.stdout}${cli.stderr}`,
      () => {
        if (over !== undefined) throw new Error(`The run is over: ${over}`);
        const [found] = globSync(path.join(lab.runtime, "*/run.sock"));
        return readdirSync(lab.workspace).includes("token") ? found : undefined;
      },
      START_MS,
    );
    const canaries = secrets.map(([, value]) => Buffer.from(value));
    return await rangeOf(lab, socketPath, readFileSync(token, "utf8"), canaries);
  } catch (error) {
    await lab[Symbol.asyncDispose]();
    throw error;
  }
}

async function rangeOf(
  lab: Lab,
  socketPath: string,
  token: string,
  canaries: Buffer[],
): Promise<AttackRange> {
  const said: Buffer[] = [];
  const { run, supervisorPid } = await lab.waitForRun();
  const runner = trustedPartsOf(supervisorPid)["tool-runner"] ?? -1;
  const call = async (tool: string, script: string, signal?: AbortSignal) => {
    const reply = await callTool({ socketPath, token, tool, script, signal });
    said.push(Buffer.from(JSON.stringify(reply)), Buffer.from(reply.stdout + reply.stderr));
    return reply;
  };
  const audit = () => recordsOf(path.join(lab.data, "runs", run, "audit.jsonl"));
  await call("range-probe", "true");
  const before = new Set(lab.processes().map(({ pid }) => pid));
  const socketsBefore = unixSocketsOf(lab);

  return {
    lab,
    call,
    audit,
    async attack(tool, script, { timeoutMs = 60_000 } = {}) {
      const known = new Set(audit().flatMap((entry) => ("call" in entry ? [entry.call] : [])));
      const reply = await call(tool, script, AbortSignal.timeout(timeoutMs));
      const record = await until(`the record of the call of ${tool}`, () =>
        audit().find(
          (entry): entry is CallRecord =>
            entry.type === "call" && entry.tool === tool && !known.has(entry.call),
        ),
      );
      const requests = audit().filter(
        (entry): entry is RequestRecord => entry.type === "request" && entry.call === record.call,
      );
      return { ...reply, record, requests };
    },
    async sweep({ said: more = [], upstreamPorts = [] } = {}) {
      assert.deepEqual(canariesIn(lab, canaries, [...said, ...more]), []);
      await settle(() => processesOfCalls(lab, before), "processes of a call");
      await settle(
        () => unixSocketsOf(lab).filter((name) => !socketsBefore.includes(name)),
        "sockets of a call",
      );
      await settle(() => connectionsTo(runner, upstreamPorts), "connections to an upstream");
      const answered = await call("range-probe", "echo here", AbortSignal.timeout(ANSWER_MS));
      assert.deepEqual([answered.outcome, answered.stdout], ["completed", "here\n"]);
    },
    async [Symbol.asyncDispose]() {
      await lab[Symbol.asyncDispose]();
    },
  };
}

function rangeTool(name: string, spec: object): object {
  const script = { type: "string" };
  return aTool(name, {
    package: "./hostile",
    operations: [
      {
        name: "run",
        description: "Runs a script.",
        command: ["/bin/sh", "-c", "{{script}}"],
        inputSchema: {
          type: "object",
          properties: { script },
          required: ["script"],
          additionalProperties: false,
        },
      },
    ],
    ...spec,
  });
}

function writePackage(lab: Lab, { programs = [], files = {}, node = false }: RangeOptions): void {
  const directory = path.join(lab.config, "hostile");
  mkdirSync(directory, { recursive: true });
  for (const source of programs) {
    const target = path.join(directory, path.basename(source, ".c"));
    const words = [
      "-O1",
      "-static",
      "-w",
      "-o",
      target,
      path.join(repository, source),
      "-lpthread",
    ];
    const { status, stderr } = spawnSync("cc", words, { encoding: "utf8" });
    assert.equal(status, 0, `Cannot compile ${source}: ${stderr}`);
  }
  for (const [name, source] of Object.entries(files)) {
    const { status, stderr } = spawnSync("cp", ["-rL", source, path.join(directory, name)]);
    assert.equal(status, 0, String(stderr));
  }
  if (node) addNode(directory);
  if (readdirSync(directory).length === 0)
    copyFileSync("/etc/hostname", path.join(directory, "nothing"));
}

interface CallOptions {
  socketPath: string;
  token: string;
  tool: string;
  script: string;
  signal: AbortSignal | undefined;
}

async function callTool({ socketPath, token, tool, script, signal }: CallOptions) {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const body = JSON.stringify({ arguments: { script } });
  const headers = {
    host: "127.0.0.1",
    authorization: `Bearer ${token}`,
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
  };
  http
    .request(
      {
        socketPath,
        method: "POST",
        path: `/v1/tools/${tool}/run`,
        headers,
        agent: false,
        ...(signal === undefined ? {} : { signal }),
      },
      resolve,
    )
    .on("error", reject)
    .end(body);
  return ToolCallReply.parse(await json(await promise));
}

/** Lines of the manager's audit. Whatever else a line carries beside its record is not looked at. */
function recordsOf(file: string): AuditRecord[] {
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  return text
    .split("\n")
    .filter((line) => line.endsWith("}"))
    .map((line) => JSON.parse(line) as { record?: AuditRecord } & AuditRecord)
    .map((line) => line.record ?? line)
    .filter(({ type }) => type !== undefined);
}
