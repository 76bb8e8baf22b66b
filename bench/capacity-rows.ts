import { globSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import timers from "node:timers/promises";
import type { Container } from "kubernetes-types/core/v1.d.ts";
import { bytesOf } from "../src/protocol/quantities.ts";
import { Tool } from "../src/protocol/tool-manifest.ts";
import { buildImages, lacksContainers } from "../test/images/container-lab.ts";
import { PlayedPod, type PodOptions, type Range } from "../test/images/played-pod.ts";
import { ownContainerLab } from "./belongings.ts";
import { type ContainerUsage, watchContainers } from "./container-usage.ts";
import { writeMixedOutput } from "./mixed-output.ts";
import { missingRow, peerRow, valueRow } from "./row.ts";
import type { Row } from "./row.ts";

const CONTAINERS = ["session-recorder", "tool-runner", "agent", "manager"] as const;
const IMAGES =
  "agentkube-agentlet agentkube-tool-runner agentkube-session-recorder agentkube-manager claudecode custom-example".split(
    " ",
  );
/** What a start leaves to collect and to compile is done by then. */
const SETTLE_MS = 30_000;
const REST_MS = 20_000;
const FLOOD_BYTES = 200_000_000;
const ENDS_MS = 280_000;
const MODEL_PORT = 9444;
const MODEL_KEY = "sk-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH";
const TURN_CALLS = 10;
/** A quarter of a limit is left for what was not measured. */
const OF_LIMIT = 0.75;

/** One thing that runs do, and the pod that does it. */
interface Work {
  title: string;
  options: Omit<PodOptions, "name">;
  /** what is waited for in the terminal before anything is measured */
  after?: string;
  /** null: until the run has ended */
  forMs: number | null;
}

/**
 * Memory, processor time and disk of each container of a run, in a pod that podman plays from what `agentkube pod` prints: at rest, in a
 * turn of the real Claude Code, in a flood of output, in many tool calls. Memory is measured against the limit that is printed.
 */
export async function capacityRows(): Promise<Row[]> {
  const lacks = lacksContainers();
  if (lacks !== false) return [missingRow("capacity of containers", lacks)];
  await using owned = ownContainerLab();
  const { lab } = owned;
  const built = new Map(buildImages(lab, IMAGES).map((image) => [image.name, image.reference]));
  const range: Range = { lab, referenceOf: (name) => built.get(name) ?? "" };
  const rows: Row[] = [];
  for (const [index, work] of worksOf(range).entries())
    rows.push(...(await measure(range, `capacity-${index}`, work)));
  return rows;
}

function worksOf({ referenceOf }: Range): Work[] {
  const tools = [clock()];
  return [
    {
      title: "at rest",
      options: { script: "echo resting; exec sleep 900", tools },
      after: "resting",
      forMs: REST_MS,
    },
    {
      title: `in a turn of Claude Code with ${TURN_CALLS} tool calls`,
      options: {
        goal: `${"[[tool mcp__agentkube__clock_run {}]] ".repeat(TURN_CALLS)}[[tool Bash {"command":"seq 2000","description":"look"}]] [[say Well done.]]`,
        spec: {
          runtime: "ClaudeCode",
          mode: "system",
          image: referenceOf("claudecode"),
          agentToken: { secretRef: { name: "agent-token", key: "token" } },
          model: {
            name: "fake-model",
            endpoint: { url: `http://127.0.0.1:${MODEL_PORT}`, private: true },
          },
        },
        tools,
        secrets: { "agent-token": { token: MODEL_KEY } },
        services: [{ program: "model.ts", input: { port: MODEL_PORT, key: MODEL_KEY } }],
      },
      forMs: null,
    },
    {
      title: `while it prints ${FLOOD_BYTES / 1e6} MB`,
      options: {
        script: "stty -onlcr; exec cat mixed",
        prepare: (made) =>
          writeMixedOutput(path.join(made.hostDir("workspace"), "mixed"), FLOOD_BYTES),
      },
      forMs: null,
    },
    {
      title: "in 400 tool calls, eight at once",
      options: {
        script:
          "for i in 1 2 3 4 5 6 7 8; do (for j in $(seq 50); do clock run >/dev/null; done) & done; wait",
        tools,
      },
      forMs: null,
    },
  ];
}

async function measure(range: Range, name: string, work: Work): Promise<Row[]> {
  await using pod = await PlayedPod.play(range, { name, ...work.options });
  if (work.after !== undefined) {
    await pod.started(work.after);
    await timers.setTimeout(SETTLE_MS);
  }
  const pids = Object.fromEntries(
    CONTAINERS.map((container) => [container, pod.pidOf(container)]),
  ) as Record<(typeof CONTAINERS)[number], number>;
  let spoolMiB = 0;
  const used = await watchContainers(pids, async () => {
    if (work.forMs !== null) {
      await timers.setTimeout(work.forMs);
      return;
    }
    const looking = setInterval(
      () => (spoolMiB = Math.max(spoolMiB, sizeMiB(pod.hostDir("spool")))),
      200,
    );
    const { info } = await pod.ended(ENDS_MS).finally(() => clearInterval(looking));
    if (info.end?.outcome !== "succeeded")
      throw new Error(`Expected a run that succeeds, got ${info.end?.reason}: ${pod.lastWords()}`);
  });
  const printed = new Map(containersOf(pod).map((one) => [one.name, one]));
  const rows = CONTAINERS.flatMap((container) =>
    rowsOf(`${container} ${work.title}`, used[container], printed.get(container)),
  );
  // A sealed spool is removed once the manager has verified it.
  if (work.forMs === null)
    rows.push(valueRow(`spool ${work.title}`, spoolMiB, "MiB", "volume of 4 GiB", null));
  rmSync(pod.hostDir("workspace"), { recursive: true, force: true });
  return rows;
}

function rowsOf(what: string, usage: ContainerUsage, container: Container | undefined): Row[] {
  const { peakMemoryMiB, cpuSeconds, peakMillicores, seconds } = usage;
  const limit = container?.resources?.limits?.["memory"];
  const mean = (1000 * cpuSeconds) / seconds;
  const cpu = `${cpuSeconds.toFixed(1)} s of CPU in ${seconds.toFixed(0)} s, busiest second ${peakMillicores.toFixed(0)} m`;
  const limitMiB = limit === undefined ? null : bytesOf(limit) / 1024 ** 2;
  return [
    limitMiB === null
      ? valueRow(`memory of ${what}`, peakMemoryMiB, "MiB", "its limit is the operator's", null)
      : peerRow(
          `memory of ${what}`,
          peakMemoryMiB,
          "MiB",
          { name: "its limit", value: limitMiB },
          { atMost: OF_LIMIT * limitMiB },
        ),
    valueRow(`CPU of ${what}`, mean, "m", cpu, null),
  ];
}

function containersOf(pod: PlayedPod): Container[] {
  for (const object of pod.objects)
    if (object.kind === "Pod" && object.spec !== undefined && "containers" in object.spec)
      return [...(object.spec.initContainers ?? []), ...object.spec.containers];
  throw new Error("Expected a Pod among the objects, found none");
}

function sizeMiB(dir: string): number {
  let bytes = 0;
  for (const file of globSync(path.join(dir, "**/*")))
    try {
      bytes += statSync(file).blocks * 512;
    } catch {
      // Removed since.
    }
  return bytes / 1024 ** 2;
}

function clock(): Tool {
  return Tool.parse({
    apiVersion: "agentkube.io/v1alpha1",
    kind: "Tool",
    metadata: { name: "clock" },
    spec: {
      image: "docker.io/library/debian:bookworm-slim",
      operations: [{ name: "run", description: "Run it.", command: ["/bin/echo", "half past"] }],
    },
  });
}
