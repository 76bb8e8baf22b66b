import { dataOption, defineCommand } from "../command.ts";

/** What reads our status may die before us; then there is still a run to end in order. */
const goOn = (): void => {};

const READS =
  "Reads the run spec that AGENTKUBE_RUN_SPEC names, and tokens from the first line of standard input. Started by a supervisor.";

/** `agentkube tool-runner`. */
export const toolRunner = defineCommand({
  name: "tool-runner",
  summary: "the program that runs tools and holds secrets",
  usage: ["tool-runner"],
  description: READS,
  examples: [
    {
      command: "AGENTKUBE_RUN_SPEC=spec.json agentkube tool-runner",
      does: "serves one run's tools",
    },
  ],
  options: {},
  run: async (context) => {
    context.onOutputError(goOn);
    return await (await import("../../tool-runner/main.ts")).main();
  },
});

/** `agentkube session-recorder`. */
export const sessionRecorder = defineCommand({
  name: "session-recorder",
  summary: "the program that writes and ships the recording",
  usage: ["session-recorder"],
  description: READS,
  examples: [
    { command: "AGENTKUBE_RUN_SPEC=spec.json agentkube session-recorder", does: "records one run" },
  ],
  options: {},
  run: async (context) => {
    context.onOutputError(goOn);
    return await (await import("../../recorder/main.ts")).main();
  },
});

/** `agentkube manager`. */
export const manager = defineCommand({
  name: "manager",
  summary: "the program that stores runs and serves the page",
  usage: ["manager --data DIR [--port N] [--listen ADDRESS] [--host NAME]… [--ephemeral]"],
  description: "agentkube run starts one when none runs for the data directory.",
  examples: [
    { command: "agentkube manager --port 4100", does: "serves the page on http://127.0.0.1:4100" },
  ],
  options: {
    data: dataOption,
    port: { type: "string", value: "N", help: "port on 127.0.0.1 (default: the last one, or any)" },
    listen: {
      type: "string",
      value: "ADDRESS",
      help: "address to listen on (default 127.0.0.1); beyond loopback, tokens cross the network as they are: put TLS in front",
    },
    host: {
      type: "string",
      multiple: true,
      value: "NAME",
      help: "a host name by which requests may come, besides 127.0.0.1 and localhost",
    },
    ephemeral: { type: "boolean", help: "end when no run is live and nobody watches" },
    "cap-bytes": {
      type: "string",
      value: "BYTES",
      help: "refuse new runs beyond this size of the data directory (default 20Gi)",
    },
    "pod-tokens": {
      type: "string",
      value: "HOW",
      help: "how tokens of pods are known: hashes (default), given with the run, or kubernetes: by TokenReview of the API server of this cluster, or of AGENTKUBE_KUBERNETES_API",
    },
  },
  run: async (context) => {
    context.onOutputError(goOn);
    return await (await import("../../manager/main.ts")).main([...context.args]);
  },
});

/** `agentkube supervisor`: hidden, started by `run`. */
export const supervisor = defineCommand({
  name: "supervisor",
  summary: "the program that starts and ends one run",
  usage: ["supervisor"],
  description:
    "Reads one line of JSON, what to run, from standard input. Started by agentkube run.",
  examples: [{ command: "agentkube run agent.yaml", does: "starts one" }],
  options: {},
  run: async (context) => await (await import("../supervisor.ts")).main(context),
});
