import { copyFile } from "node:fs/promises";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { compileRedactionSet } from "../../src/kit/redaction-set.ts";
import { LiveTerminal } from "../../src/agentlet/live-terminal.ts";
import { PtySession } from "../../src/agentlet/pty-session.ts";
import { Approver } from "../../src/agentlet/states/approver.ts";
import { machineClock } from "../../src/agentlet/states/clock.ts";
import { Interaction } from "../../src/agentlet/states/interaction.ts";
import { driverOf } from "../../src/agentlet/drivers/registry.ts";
import { RunStates } from "../../src/agentlet/states/run-states.ts";
import type { Approvals } from "../../src/protocol/agent-manifest.ts";
import type { AgentletEvent } from "../../src/protocol/agentlet-link.ts";
import { openTestZone } from "../agentlet/open-zone.ts";
import type { TuiRuntime } from "../fixtures/tui-screens.ts";

/** What the fake agent says of itself, with the time it said so. */
export interface Truth {
  what: string;
  atMs: number;
  hook?: string | null;
  key?: string;
  prompt?: string;
}

export interface LabOptions {
  runtime: TuiRuntime;
  /** words for the fake agent, such as `--torn` */
  words?: string[];
  hooks?: boolean;
  /** hooks that are never delivered though the agent has them */
  deafTo?: RegExp;
  approvals?: Approvals;
  approvalTimeoutMs?: number;
  attended?: () => boolean;
}

const HOOK_STATE: Record<string, "busy" | "idle" | "permission" | "question"> = {
  SessionStart: "idle",
  UserPromptSubmit: "busy",
  PostToolUse: "busy",
  PermissionRequest: "permission",
  AskUserQuestion: "question",
  Stop: "idle",
};
const SIZE = { cols: 110, rows: 34 };

/** A fake agent on a real terminal in a real zone, watched as a run's CLI is. */
export async function openFakeAgentLab(options: LabOptions) {
  const zone = await openTestZone();
  for (const file of ["fake-agent.ts", "tui-screens.ts"])
    await copyFile(
      fileURLToPath(new URL(`../fixtures/${file}`, import.meta.url)),
      join(zone.workspace, file),
    );
  const truths: Truth[] = [];
  const events: { atMs: number; event: AgentletEvent }[] = [];
  const wakers = new Set<() => void>();
  const wake = () => {
    for (const each of wakers) each();
  };
  const socket = join(zone.workspace, "truth.sock");
  const server = createServer((connection) => {
    let held = "";
    connection.setEncoding("utf8").on("data", (chunk: string) => {
      const lines = (held + chunk).split("\n");
      held = lines.pop() ?? "";
      for (const line of lines) {
        const truth = { ...(JSON.parse(line) as Truth), atMs: performance.now() };
        truths.push(truth);
        const hook = truth.hook ?? "";
        const state = HOOK_STATE[hook];
        if (state !== undefined && options.deafTo?.test(hook) !== true)
          states.signal({
            channel: "hook",
            state,
            evidence: hook,
            ...(state === "permission"
              ? { ask: { tool: "Bash", text: "", detail: "echo hi > made.txt", options: [] } }
              : {}),
          });
        wake();
      }
    });
  }).listen(socket);
  await once(server, "listening");

  const terminal: LiveTerminal = new LiveTerminal({
    size: SIZE,
    redaction: compileRedactionSet([]),
    recorder: { output: () => undefined, input: () => undefined, resize: () => undefined },
    recordInput: false,
    onScreen: () => states.screenChanged(),
    onPersonTypes: (bytes, window, deliver) => interaction.lease.person(bytes, window, deliver),
    onRefusedInput: () => undefined,
  });
  const emit = (event: AgentletEvent) => {
    events.push({ atMs: performance.now(), event });
    wake();
  };
  const attended = options.attended ?? (() => false);
  const rules = driverOf(options.runtime).rules;
  const states = new RunStates({
    run: "fake-1",
    rules,
    view: () => terminal.view(),
    hasWriter: attended,
    outputOffset: () => terminal.outputOffset,
    screenOffset: () => terminal.screenOffset,
    emit,
  });
  const interaction = new Interaction({
    states,
    rules,
    clock: machineClock,
    view: () => terminal.view(),
    type: (bytes) => terminal.type(bytes),
    stranger: () => terminal.stranger,
    hasReadInput: () => terminal.hasReadInput,
    outputOffset: () => terminal.outputOffset,
    emit,
    onHands: (hands) =>
      emit({ type: "input", time: new Date().toISOString(), ...hands, outputOffset: 0 }),
  });
  const approver = new Approver({
    states,
    interaction,
    clock: machineClock,
    approvals: options.approvals,
    timeoutMs: options.approvalTimeoutMs,
    hasWriter: attended,
    notice: (message) => emit({ type: "notice", time: new Date().toISOString(), message }),
  });
  const program = await zone.sandbox.start({
    argv: [
      "/opt/agentkube/node",
      "--disable-warning=ExperimentalWarning",
      "fake-agent.ts",
      "--runtime",
      options.runtime,
      "--truth",
      socket,
      ...(options.hooks === true ? ["--hooks"] : []),
      ...(options.runtime === "Goose" ? ["--main-screen"] : []),
      ...(options.words ?? []),
    ],
    cwd: zone.workspace,
    env: { PATH: "/usr/bin:/bin", HOME: "/home/agent", TERM: "xterm-256color" },
    ...SIZE,
  });
  const pty = new PtySession({
    program,
    size: SIZE,
    onOutput: (bytes) => terminal.output(bytes),
    onRefusedInput: () => undefined,
  });
  terminal.use(pty);
  void program.exited.then((exit) => states.process("exited", exit.kind));

  /** Waits until a condition holds, looked at whenever something is told. */
  const until = async (what: string, holds: () => boolean, ms = 10_000) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = () => {
      if (holds()) resolve();
    };
    const late = setTimeout(() => {
      const told = events.slice(-12).map(({ event }) => JSON.stringify(event).slice(0, 200));
      reject(new Error(`Expected within ${ms} ms: ${what}; told:\n${told.join("\n")}`));
    }, ms);
    wakers.add(look);
    look();
    await promise.finally(() => {
      clearTimeout(late);
      wakers.delete(look);
    });
  };
  let requests = 0;
  const request = () => (requests++).toString(16).padStart(16, "0");
  type Act = Extract<AgentletEvent, { type: "act" }>;
  const actsOf = (id: string) =>
    events.flatMap(({ event }): Act[] =>
      event.type === "act" && event.request === id && event.phase !== "accepted" ? [event] : [],
    );
  return {
    states,
    interaction,
    terminal,
    pty,
    truths,
    events,
    until,
    /** Gives a prompt and waits for what became of it. */
    async prompt(text: string): Promise<Act> {
      const id = request();
      await interaction.handle({ kind: "prompt", request: id, by: "a test", text });
      return actsOf(id)[0] as Act;
    },
    async answer(
      choice: "allow" | "deny" | { option: string },
      ask: number | null = null,
    ): Promise<Act> {
      const id = request();
      await interaction.handle({
        kind: "answer",
        request: id,
        by: "a test",
        ask,
        choice:
          typeof choice === "string" ? { kind: choice } : { kind: "option", key: choice.option },
      });
      return actsOf(id)[0] as Act;
    },
    async interrupt(): Promise<Act> {
      const id = request();
      await interaction.handle({ kind: "interrupt", request: id, by: "a test" });
      return actsOf(id)[0] as Act;
    },
    async isState(state: string, ms?: number): Promise<void> {
      await until(`state ${state}`, () => states.standing.state === state, ms);
    },
    statesTold: () => events.flatMap(({ event }) => (event.type === "state" ? [event.state] : [])),
    async [Symbol.asyncDispose]() {
      approver[Symbol.dispose]();
      await interaction.close();
      states[Symbol.dispose]();
      await zone.sandbox.kill();
      await pty.ended;
      terminal[Symbol.dispose]();
      server.close();
      await zone[Symbol.asyncDispose]();
    },
  };
}
