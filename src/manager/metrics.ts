import { CallOutcome, RunOutcome } from "../protocol/outcome.ts";
import { RunPhase } from "../protocol/manager-api.ts";
import type { Metric } from "../protocol/metrics.ts";
import type { Counters } from "./counters.ts";
import type { RunnerReports } from "./runner-reports.ts";
import type { Runs } from "./runs.ts";

/** Where the numbers come from. */
export interface MetricSources {
  readonly runs: Runs;
  readonly counters: Counters;
  readonly reports: RunnerReports;
}

/**
 * All that this manager counts. Counters begin with the manager, or with the tool-runner that reported them. A label's value is from a
 * closed list: no name of a run, tool or host, so that neither their number nor what they are called gets out here.
 */
export function metricsOf({ runs, counters, reports }: MetricSources): Metric[] {
  return [...ofRuns(runs), ...ofManager(counters), ...ofRunners(reports)];
}

function ofRuns(runs: Runs): Metric[] {
  const infos = runs.list().map(({ info }) => info);
  const ended = infos.filter(({ end }) => end !== null);
  return [
    gauge(
      "agentkube_runs",
      "Runs in the data directory by phase.",
      "phase",
      countBy(
        RunPhase.options,
        infos.map(({ phase }) => phase),
      ),
    ),
    gauge(
      "agentkube_runs_ended",
      "Ended runs in the data directory by outcome.",
      "outcome",
      countBy(
        RunOutcome.options,
        ended.flatMap(({ end }) => (end === null ? [] : [end.outcome])),
      ),
    ),
    gauge(
      "agentkube_recordings_committed_bytes",
      "Bytes of the runs' recordings that are durable.",
      infos.reduce((sum, { committedBytes }) => sum + committedBytes, 0),
    ),
  ];
}

function ofManager(counters: Counters): Metric[] {
  const { badMessages, unauthorized, foreignOrigins, deferred } = counters;
  return [
    counter(
      "agentkube_manager_recorders_deferred_total",
      "How often a recorder was told to come back later, since too many catch up.",
      deferred,
    ),
    counter("agentkube_manager_refused_total", "What this manager refused, by reason.", "reason", {
      bad_message: badMessages,
      unauthorized,
      foreign_origin: foreignOrigins,
    }),
  ];
}

function ofRunners(reports: RunnerReports): Metric[] {
  const { pool, calls } = reports.total;
  return [
    gauge("agentkube_tool_calls", "Tool calls now, by whether they run or wait.", "state", {
      running: calls.running,
      waiting: calls.waiting,
    }),
    counter(
      "agentkube_tool_calls_ended_total",
      "Tool calls that ended, by outcome.",
      "outcome",
      Object.fromEntries(CallOutcome.options.map((name) => [name, calls.outcomes[name] ?? 0])),
    ),
    counter(
      "agentkube_tool_calls_seconds_total",
      "Time that ended tool calls took together.",
      calls.durationMs / 1000,
    ),
    gauge(
      "agentkube_sandbox_pool_size",
      "Sandboxes that are to wait for each profile, over all tool-runners.",
      pool.size,
    ),
    gauge(
      "agentkube_sandbox_pool_waiting",
      "Sandboxes prepared and waiting for a call: one process each.",
      pool.waiting,
    ),
    gauge(
      "agentkube_sandbox_pool_waiting_bytes",
      "Memory of their own that the waiting sandboxes hold: what the pool costs at rest.",
      pool.waitingBytes,
    ),
    counter(
      "agentkube_sandbox_pool_taken_total",
      "Sandboxes of calls: warm were prepared ahead, cold were built when the call came.",
      "kind",
      { warm: pool.warm, cold: pool.cold },
    ),
    counter(
      "agentkube_sandbox_pool_prepared_total",
      "Sandboxes prepared to refill the pool.",
      pool.prepared,
    ),
    counter(
      "agentkube_sandbox_pool_discarded_total",
      "Prepared sandboxes that ended without a call.",
      pool.discarded,
    ),
  ];
}

/** Whether a path is one of those that show the numbers. */
export function isMetrics(path: string): boolean {
  return path === "/metrics" || path === "/v1/metrics";
}

/** The text that Prometheus reads, version 0.0.4. */
export function textOfMetrics(metrics: readonly Metric[]): string {
  return metrics
    .map(({ name, type, help, samples }) => {
      const lines = samples.map(({ labels, value }) => {
        const pairs = Object.entries(labels).map(([label, text]) => `${label}="${text}"`);
        return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}\n`;
      });
      return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join("")}`;
    })
    .join("");
}

type Values = Readonly<Record<string, number>>;

/** One number, or one for each value of a label. */
function metric(
  type: Metric["type"],
  name: string,
  help: string,
  rest: [number] | [string, Values],
): Metric {
  const [first] = rest;
  const samples =
    typeof first === "number"
      ? [{ labels: {}, value: first }]
      : Object.entries(rest[1] ?? {}).map(([text, value]) => ({
          labels: { [first]: text },
          value,
        }));
  return { name, type, help, samples };
}

function counter(name: string, help: string, ...rest: [number] | [string, Values]): Metric {
  return metric("counter", name, help, rest);
}

function gauge(name: string, help: string, ...rest: [number] | [string, Values]): Metric {
  return metric("gauge", name, help, rest);
}

function countBy(names: readonly string[], found: readonly string[]): Values {
  return Object.fromEntries(
    names.map((name) => [name, found.filter((one) => one === name).length]),
  );
}
