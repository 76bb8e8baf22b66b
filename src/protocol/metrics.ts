import * as z from "zod";
import { CallOutcome } from "./outcome.ts";

const Count = z.int().nonnegative();

/**
 * What a tool-runner counted since it started and what it has open now, sent on its audit link when it changed. Numbers and names of
 * closed lists only: nothing that an agent, a tool or an upstream chose.
 */
export const RunnerReport = z.strictObject({
  pool: z.strictObject({
    size: Count.describe("sandboxes that wait for each profile, as configured"),
    waiting: Count.describe("sandboxes prepared and not yet used"),
    waitingBytes: Count.describe("memory of their own that these hold"),
    warm: Count.describe("calls that found a prepared sandbox"),
    cold: Count.describe("calls that had to build theirs"),
    prepared: Count,
    discarded: Count.describe("ended without a call: too old, or gone by themselves"),
  }),
  calls: z.strictObject({
    running: Count,
    waiting: Count,
    outcomes: z.partialRecord(CallOutcome, Count),
    durationMs: Count.describe("of all ended calls together"),
  }),
});
export type RunnerReport = z.infer<typeof RunnerReport>;

/** One metric of `GET /v1/metrics` (`{metrics: […]}`); `GET /metrics` says the same in Prometheus' text format. */
export const Metric = z.strictObject({
  name: z.string().regex(/^agentkube_[a-z_]+$/),
  type: z.enum(["counter", "gauge"]),
  help: z.string(),
  samples: z.array(
    z.strictObject({
      labels: z.record(z.string(), z.string()).describe("values of closed lists only"),
      value: z.number(),
    }),
  ),
});
export type Metric = z.infer<typeof Metric>;

export const MetricList = z.strictObject({ metrics: z.array(Metric) });
export type MetricList = z.infer<typeof MetricList>;
