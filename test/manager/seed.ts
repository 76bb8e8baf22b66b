import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { WebSocket } from "ws";
import { atEnd } from "../helpers/at-end.ts";
import { silentLog } from "../../src/kit/log.ts";
import { native } from "../../src/kit/native.ts";
import { createSigningKey } from "../../src/kit/signing.ts";
import type { AuditRecord } from "../../src/protocol/audit.ts";
import { chainLine, firstPrev, sealRecord } from "../../src/protocol/audit-chain.ts";
import { createRunId } from "../../src/protocol/ids.ts";
import { openManager, type Manager, type ManagerOptions } from "../../src/manager/manager.ts";
import { encodeAppend } from "../../src/protocol/recording-link.ts";

/** A manager of this test's own, on any port, with a data directory of its own. */
export async function startManager(
  t: TestContext,
  options: Partial<ManagerOptions> = {},
): Promise<{ manager: Manager; dataDir: string }> {
  const dataDir = options.dataDir ?? (await temporaryDir(t));
  const manager = await openManager({
    dataDir,
    port: 0,
    ephemeral: false,
    capBytes: 1024 ** 3,
    version: "0.0.0",
    lockFile: (fd) => native().lockFile(fd),
    log: silentLog,
    ...options,
  });
  atEnd(t, async () => await manager[Symbol.asyncDispose]());
  return { manager, dataDir };
}

export async function temporaryDir(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "agentkube-manager-test-"));
  atEnd(t, async () => await rm(dir, { recursive: true, force: true }));
  return dir;
}

/** The key of every seeded run's tool-runner. */
const RUNNER_KEY = createSigningKey();

/** Messages with these records as the audit of a run: an epoch first, each linked to the one before. */
export function auditMessages(run: string, records: object[]): object[] {
  let prev = firstPrev(run);
  const epoch = {
    type: "epoch_started",
    key: RUNNER_KEY.publicKey,
    argumentsKey: "00".repeat(32),
  };
  return [epoch, ...records].map((record, index) => {
    const seq = index + 1;
    const whole = {
      time: "2026-01-01T00:00:00.000Z",
      run,
      ...record,
      epoch: 1,
      prev,
    } as AuditRecord;
    const sealed = sealRecord(seq, whole, RUNNER_KEY);
    prev = chainLine(seq, sealed).hash;
    return { kind: "audit", seq, record: sealed };
  });
}

export interface SeedRun {
  run: string;
  tokens: { agentlet: string; recorder: string; runner: string };
}

/** A request as the operator. */
export async function api(
  manager: Manager,
  path: string,
  init: Omit<RequestInit, "headers"> = {},
): Promise<Response> {
  return await fetch(`${manager.url}${path}`, {
    ...init,
    headers: { authorization: `Bearer ${manager.token}` },
  });
}

export function registration(
  dataDir: string,
  overrides: Record<string, unknown> = {},
): { body: Record<string, unknown>; seed: SeedRun } {
  const run = createRunId("seeded");
  const token = (): string => randomBytes(32).toString("hex");
  const tokens = { agentlet: token(), recorder: token(), runner: token() };
  const hash = (value: string): string => createHash("sha256").update(value).digest("hex");
  const body = {
    protocol: 1,
    run,
    agent: "seeded",
    runtime: "Custom",
    mode: "supervised",
    supervisorPid: process.pid,
    runtimeDir: join(dataDir, `agentkube-${randomBytes(6).toString("hex")}`),
    spoolDir: join(dataDir, "spool", run),
    tools: [],
    terminal: { cols: 80, rows: 24 },
    interactive: true,
    tokenHashes: {
      agentlet: hash(tokens.agentlet),
      recorder: hash(tokens.recorder),
      runner: hash(tokens.runner),
    },
    runnerKey: RUNNER_KEY.publicKey,
    ...overrides,
  };
  return { body, seed: { run, tokens } };
}

export async function seedRun(
  manager: Manager,
  dataDir: string,
  overrides: Record<string, unknown> = {},
): Promise<SeedRun> {
  const { body, seed } = registration(dataDir, overrides);
  const answer = await api(manager, "/v1/runs", { method: "POST", body: JSON.stringify(body) });
  if (answer.status !== 201) throw new Error(`Not registered: ${await answer.text()}`);
  return seed;
}

/** A WebSocket whose messages are read one after the other. */
export class Peer {
  readonly socket: WebSocket;
  readonly closed: Promise<{ code: number; reason: string }>;
  readonly #messages: (string | Buffer)[] = [];
  #wake: () => void = () => undefined;

  constructor(manager: Manager, path: string, token: string, protocols: string[] = []) {
    this.socket = new WebSocket(`${manager.url.replace("http", "ws")}${path}`, protocols, {
      headers: { authorization: `Bearer ${token}` },
    });
    this.socket.on("message", (data: Buffer, binary: boolean) => {
      this.#messages.push(binary ? data : data.toString("utf8"));
      this.#wake();
    });
    this.closed = new Promise((resolve) => {
      this.socket.once("close", (code, reason) => {
        resolve({ code, reason: reason.toString("utf8") });
        this.#wake();
      });
    });
    this.socket.on("error", () => this.#wake());
  }

  /** Sends once the socket is open. */
  async send(message: object | Buffer): Promise<void> {
    if (this.socket.readyState === this.socket.CONNECTING)
      await new Promise((resolve) => this.socket.once("open", resolve));
    this.socket.send(Buffer.isBuffer(message) ? message : JSON.stringify(message));
  }

  async next(): Promise<string | Buffer> {
    for (;;) {
      const message = this.#messages.shift();
      if (message !== undefined) return message;
      if (this.socket.readyState >= this.socket.CLOSING) throw new Error("The socket is closed");
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The next text message as an object. */
  async json(): Promise<Record<string, unknown>> {
    return JSON.parse((await this.next()) as string) as Record<string, unknown>;
  }

  /** Reads until a message fits. */
  async until(
    fits: (message: Record<string, unknown>) => boolean,
  ): Promise<Record<string, unknown>> {
    for (;;) {
      const message = await this.json();
      if (fits(message)) return message;
    }
  }
}

/** The recorder of a run, past its hello; gives what the manager has. */
export async function recorder(
  manager: Manager,
  { run, tokens }: SeedRun,
  epoch = 1,
): Promise<{ peer: Peer; committed: number }> {
  const peer = new Peer(manager, `/v1/recordings/${run}`, tokens.recorder);
  await peer.send({ kind: "hello", protocol: 1, epoch, bytes: 1024 ** 3 });
  const { bytes } = await peer.until((message) => message["kind"] === "committed");
  return { peer, committed: bytes as number };
}

/** Ships bytes and waits until they are durable. */
export async function ship(peer: Peer, offset: number, bytes: Buffer): Promise<void> {
  await peer.send(encodeAppend(offset, bytes));
  const end = offset + bytes.length;
  await peer.until((message) => message["kind"] === "committed" && message["bytes"] === end);
}

export async function agentlet(
  manager: Manager,
  { run, tokens }: SeedRun,
  epoch = 1,
): Promise<Peer> {
  const peer = new Peer(manager, `/v1/runs/${run}/agentlet`, tokens.agentlet);
  await peer.send({ kind: "hello", protocol: 1, epoch });
  return peer;
}

export const CAST = [
  '{"version":3,"term":{"cols":80,"rows":24},"timestamp":1763600000}',
  '[0.100, "o", "hello from the agent\\r\\n"]',
  '#pos {"seq":1,"fact":0,"out":22,"in":0,"ms":100,"end":false}',
  '[0.200, "m", "tool: list"]',
  '[0.300, "o", "second line ─ box\\r\\n"]',
  "",
].join("\n");
export const CAST_EXIT = '[0.100, "x", "0"]\n';

export function sha256(bytes: Buffer | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export const SUCCEEDED = { outcome: "succeeded", reason: "exited", exitCode: 0, signal: null };
