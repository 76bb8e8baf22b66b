// A real CLI in a run of its own, with a scripted model, a tool and a hand on its keyboard. Used by the suites beside it.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import timers from "node:timers/promises";
import type { WebSocket } from "ws";
import { findManager } from "../../src/cli/client.ts";
import { AgentletEvent } from "../../src/protocol/agentlet-link.ts";
import type { RunResult } from "../../src/protocol/results.ts";
import { openFakeModel } from "../helpers/fake-model.ts";
import type { FakeModel } from "../helpers/fake-model.ts";
import { openLab, resultOf } from "../helpers/lab.ts";
import type { CliEnd, Lab } from "../helpers/lab.ts";
import { aTool, writePackage } from "../helpers/manifests.ts";

/** The real model key: it must never be seen in zone A. */
export const MODEL_KEY = "sk-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH";
export const TOOL_SAYS = "half past tool";
/** A guard only: OpenCode takes 20 s of CPU to start, and a machine may do ten other things. */
export const LONG_MS = 240_000;

export type StateEvent = Extract<AgentletEvent, { type: "state" }>;
export type Heartbeat = Extract<AgentletEvent, { type: "heartbeat" }>;

/** A reason to skip when a CLI is not on PATH, else false: for the option of a suite. */
export function skipWithout(program: string): string | false {
  const dirs = (process.env["PATH"] ?? "").split(":");
  const found = dirs.some((dir) => existsSync(path.join(dir, program)));
  return found ? false : `${program} is not on PATH; npm run test:runtimes installs it`;
}

export interface Session extends AsyncDisposable {
  readonly lab: Lab;
  readonly model: FakeModel;
  readonly run: string;
  /** Every state so far, oldest first. */
  states(): Promise<StateEvent[]>;
  /** What was done to it from afar, and what was noticed, oldest first, as `ACT BY PHASE: MESSAGE`. */
  acts(): string[];
  /** Every heartbeat so far, oldest first. */
  heartbeats(): Heartbeat[];
  /** The first state event from `from` on that fits; fails with all states and the screen when none comes in time. */
  waitFor(fits: (event: StateEvent) => boolean, from?: number): Promise<StateEvent>;
  /** Looks until it is so; fails when it is not in time. */
  until(isSo: () => boolean, what: string): Promise<void>;
  /** Types bytes as a person who is attached would. */
  type(text: string): Promise<void>;
  /** Gives the terminal another size, as a person who is attached would. */
  resize(cols: number, rows: number): Promise<void>;
  /** Pastes a prompt and presses Enter. */
  prompt(text: string): Promise<void>;
  /** Prompts of this text that reached the model. */
  promptsSeen(text: string): number;
  /** Everything that the terminal showed so far, as it was written. */
  output(): string;
  /** Runs `agentkube stop`, and gives the result of the run. */
  stop(): Promise<RunResult>;
  ended(): Promise<{ end: CliEnd; result: RunResult }>;
}

export interface SessionOptions {
  runtime: string;
  goal?: string;
  mode?: "supervised" | "system";
  spec?: object;
  model?: object;
  timeoutMs?: number;
  /** false: nobody is attached until something is typed; `output` is empty then */
  attached?: boolean;
  /** goes on with this run, in a lab and with a model that stay the caller's */
  resumes?: { lab: Lab; model: FakeModel; run: string };
}

/** The Agent's manifest and what it needs, in a lab; the words to run it with. */
export function manifestsOf(lab: Lab, model: FakeModel, options: SessionOptions): string[] {
  writePackage(path.join(lab.config, "clock"), `#!/bin/sh\necho ${TOOL_SAYS}\n`);
  const agent = lab.write("agent.yaml", {
    apiVersion: "agentkube.io/v1alpha1",
    kind: "Agent",
    metadata: { name: "it" },
    spec: {
      runtime: options.runtime,
      mode: options.mode ?? "supervised",
      network: "gateway",
      timeout: "560s",
      ...(options.goal === undefined ? {} : { goal: { inline: options.goal } }),
      tools: ["clock"],
      agentToken: { secretRef: { name: "agent-token", key: "token" } },
      ...options.spec,
      model: { name: "fake-model", ...options.model, endpoint: { url: model.url, private: true } },
    },
  });
  const secret = lab.write("key", MODEL_KEY, 0o600);
  return [agent, lab.write("tool.yaml", aTool("clock")), `--secret=agent-token/token=@${secret}`];
}

/** Runs a CLI once, headless, to its end. */
export async function runOnce(
  options: SessionOptions,
): Promise<{ result: RunResult; model: FakeModel; left: string[]; recording: string }> {
  await using lab = openLab();
  await using model = await openFakeModel(MODEL_KEY);
  const words = manifestsOf(lab, model, { mode: "system", ...options });
  const end = await lab.run(words, { timeoutMs: options.timeoutMs ?? LONG_MS }).ended;
  const result = resultOf(end);
  const recording = readFileSync(result.recording?.path ?? "/dev/null", "utf8");
  return { result, model, left: await lab.leftovers(), recording };
}

/** Starts a CLI in its own terminal. Disposing the session ends it and removes everything. */
export async function openSession(options: SessionOptions): Promise<Session> {
  await using stack = new AsyncDisposableStack();
  const { resumes } = options;
  const lab = resumes?.lab ?? stack.use(openLab());
  const model = resumes?.model ?? stack.use(await openFakeModel(MODEL_KEY));
  const words = manifestsOf(lab, model, options);
  if (resumes !== undefined) words.push("--resume", resumes.run);
  const cli = lab.run(words, { timeoutMs: 600_000 });
  // A machine that is busy with other suites takes its time.
  const { run } = await lab.waitForRun(({ run: other }) => other !== resumes?.run, 60_000);
  const waitMs = options.timeoutMs ?? LONG_MS;
  const chunks: Buffer[] = [];
  let socket: WebSocket | null = null;

  const events = (): AgentletEvent[] => {
    const file = path.join(lab.data, "runs", run, "events.jsonl");
    const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];
    return lines.map((line) => {
      const { seq: _seq, ...event } = JSON.parse(line) as { seq: number };
      return AgentletEvent.parse(event);
    });
  };
  const states = async (): Promise<StateEvent[]> =>
    await Promise.resolve(events().filter((event) => event.type === "state"));
  const acts = (): string[] =>
    events().flatMap((event) =>
      event.type === "act"
        ? [`${event.act} ${event.by} ${event.phase}: ${event.message}`]
        : event.type === "notice"
          ? [`notice: ${event.message}`]
          : [],
    );
  const keyboard = async (): Promise<WebSocket> => {
    if (socket !== null) return socket;
    const client = await findManager(lab.data);
    if (client === null) throw new Error("Expected a manager");
    const opened = client.attach(run, { write: true, from: 0 });
    await new Promise((resolve, reject) => opened.once("open", resolve).once("error", reject));
    opened.on("message", (data: Buffer, isBinary) => {
      if (isBinary) chunks.push(data.subarray(8));
    });
    opened.on("error", () => opened.terminate());
    stack.defer(() => opened.terminate());
    socket = opened;
    return opened;
  };
  if (options.attached !== false) await keyboard();
  const owned = stack.move();

  const session: Session = {
    lab,
    model,
    run,
    states,
    acts,
    heartbeats: () => events().filter((event) => event.type === "heartbeat"),
    async waitFor(fits, from = 0) {
      const deadline = performance.now() + waitMs;
      for (;;) {
        const all = await states();
        const found = all.slice(from).find((event) => fits(event));
        if (found !== undefined) return found;
        if (performance.now() > deadline) throw new Error(describe(all, acts(), session.output()));
        await timers.setTimeout(50);
      }
    },
    async until(isSo, what) {
      const deadline = performance.now() + waitMs;
      while (!isSo()) {
        if (performance.now() > deadline)
          throw new Error(`${what}: ${describe(await states(), acts(), session.output())}`);
        await timers.setTimeout(50);
      }
    },
    async type(text) {
      (await keyboard()).send(Buffer.from(text));
    },
    async resize(cols, rows) {
      (await keyboard()).send(JSON.stringify({ kind: "resize", cols, rows }));
    },
    async prompt(text) {
      await session.type(`\x1b[200~${text}\x1b[201~`);
      await timers.setTimeout(150);
      await session.type("\r");
    },
    promptsSeen: (text) =>
      model.requests.filter(({ method, body }) => method === "POST" && body.includes(text)).length,
    output: () => Buffer.concat(chunks).toString("utf8"),
    async stop() {
      await lab.agentkube(["stop", run, "--data", lab.data]).ended;
      return (await session.ended()).result;
    },
    async ended() {
      const end = await cli.ended;
      return { end, result: resultOf(end) };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
  return session;
}

function describe(states: StateEvent[], acts: string[], output: string): string {
  const said = states.map(({ state, channel, evidence }) => `${state} (${channel}: ${evidence})`);
  return `Waited in vain; states: ${said.join(", ")}\nacts: ${acts.join("\n")}\nthe terminal's last bytes: ${JSON.stringify(output.slice(-3000))}`;
}
