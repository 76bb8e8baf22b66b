import type { Command } from "./command.ts";

/** A row of the table of verbs. The module of a verb is loaded when the verb is used, so that each starts fast. */
export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  readonly group: "Runs" | "Records" | "Tools and machine" | "Programs of a run";
  /** not for people: absent from the help and from suggestions */
  readonly hidden?: boolean;
  load(): Promise<Command>;
}

/** Every verb, in the order of the help. */
export const commands: readonly CommandEntry[] = [
  {
    name: "run",
    summary: "run an Agent here, from manifests or from --runtime and --goal",
    group: "Runs",
    load: async () => (await import("./commands/run.ts")).command,
  },
  {
    name: "attach",
    summary: "show the live terminal of a run",
    group: "Runs",
    load: async () => (await import("./commands/attach.ts")).command,
  },
  {
    name: "shell",
    summary: "open a shell beside the agent, in its zone",
    group: "Runs",
    load: async () => (await import("./commands/shell.ts")).command,
  },
  {
    name: "page",
    summary: "print the link that opens the page",
    group: "Runs",
    load: async () => (await import("./commands/page.ts")).command,
  },
  {
    name: "ps",
    summary: "list runs",
    group: "Runs",
    load: async () => (await import("./commands/ps.ts")).command,
  },
  {
    name: "logs",
    summary: "show the events of a run",
    group: "Runs",
    load: async () => (await import("./commands/logs.ts")).command,
  },
  {
    name: "prompt",
    summary: "give the CLI of a run a prompt",
    group: "Runs",
    load: async () => (await import("./commands/prompt.ts")).command,
  },
  {
    name: "answer",
    summary: "show and answer what the CLI of a run asks",
    group: "Runs",
    load: async () => (await import("./commands/answer.ts")).command,
  },
  {
    name: "interrupt",
    summary: "break off the turn of a run's CLI",
    group: "Runs",
    load: async () => (await import("./commands/interrupt.ts")).command,
  },
  {
    name: "stop",
    summary: "stop a run",
    group: "Runs",
    load: async () => (await import("./commands/stop.ts")).command,
  },
  {
    name: "recording",
    summary: "list, show, play, verify and export recordings",
    group: "Records",
    load: async () => (await import("./commands/recording.ts")).command,
  },
  {
    name: "prune",
    summary: "remove old runs by age or size",
    group: "Records",
    load: async () => (await import("./commands/prune.ts")).command,
  },
  {
    name: "tool",
    summary: "make, check, call and pack tools",
    group: "Tools and machine",
    load: async () => (await import("./commands/tool.ts")).command,
  },
  {
    name: "doctor",
    summary: "say what this machine can do, and what to install for the rest",
    group: "Tools and machine",
    load: async () => (await import("./commands/doctor.ts")).command,
  },
  {
    name: "metrics",
    summary: "show what the manager and its tool-runners count",
    group: "Tools and machine",
    load: async () => (await import("./commands/metrics.ts")).command,
  },
  {
    name: "schema",
    summary: "print the JSON Schemas of every contract",
    group: "Tools and machine",
    load: async () => (await import("./commands/schema.ts")).command,
  },
  {
    name: "pod",
    summary: "print the Kubernetes objects of a run",
    group: "Tools and machine",
    load: async () => (await import("./commands/pod.ts")).command,
  },
  {
    name: "agentlet",
    summary: "the program that owns the agent's terminal; explain shows what its rules see",
    group: "Programs of a run",
    load: async () => (await import("./commands/agentlet.ts")).command,
  },
  {
    name: "tool-runner",
    summary: "the program that runs tools and holds secrets",
    group: "Programs of a run",
    load: async () => (await import("./commands/entry-points.ts")).toolRunner,
  },
  {
    name: "session-recorder",
    summary: "the program that writes and ships the recording",
    group: "Programs of a run",
    load: async () => (await import("./commands/entry-points.ts")).sessionRecorder,
  },
  {
    name: "manager",
    summary: "the program that stores runs and serves the page",
    group: "Programs of a run",
    load: async () => (await import("./commands/entry-points.ts")).manager,
  },
  {
    name: "install",
    summary: "copy this installation into an empty directory",
    group: "Programs of a run",
    hidden: true,
    load: async () => (await import("./commands/install.ts")).command,
  },
  {
    name: "supervisor",
    summary: "the program that starts and ends one run",
    group: "Programs of a run",
    hidden: true,
    load: async () => (await import("./commands/entry-points.ts")).supervisor,
  },
];
