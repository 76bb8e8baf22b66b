import * as z from "zod";
import { RunId } from "./ids.ts";
import {
  AgentSpec,
  Approvals,
  Mode,
  ModelEndpoint,
  MIN_SPOOL_QUOTA_BYTES,
  WhenFull,
  ZoneNetwork,
} from "./agent-manifest.ts";
import { Runtime } from "./runtimes.ts";
import { ToolSpec } from "./tool-manifest.ts";
import { SecretSource } from "./secret-source.ts";
import { ProtocolVersion } from "./version.ts";

/** A path of the host that zone A or a tool sees. */
export const Bind = z.strictObject({
  source: z.string().startsWith("/").describe("real path on the host"),
  target: z.string().startsWith("/").describe("path inside the sandbox"),
  mode: z.enum(["ro", "rw"]),
});
export type Bind = z.infer<typeof Bind>;

/** A tool of this run: its validated spec and the read-only copy of its package. */
export const RunTool = z.strictObject({
  name: z.string(),
  spec: ToolSpec,
  packageDir: z
    .string()
    .startsWith("/")
    .nullable()
    .describe("the copy in the store, by digest; null without a package"),
  digest: z
    .string()
    .regex(/^sha256:[0-9a-f]{64}$/)
    .describe("digest of spec and package"),
});
export type RunTool = z.infer<typeof RunTool>;

/** Zone A on a laptop: a sandbox made of an allow list. `none` where the container is the zone (a pod). */
export const Zone = z.strictObject({
  kind: z.enum(["sandbox", "none"]),
  network: ZoneNetwork,
  workspace: z.string().startsWith("/").describe("writable, at its own path"),
  binds: z
    .array(Bind)
    .describe("applied in order, after the workspace: runtime tree, mounts, read-only covers"),
  memoryBytes: z.int().positive(),
  processes: z.int().positive(),
  scratchBytes: z.int().positive().describe("private HOME, /tmp and /run together"),
});
export type Zone = z.infer<typeof Zone>;

/** All that the processes of a run need to know; holds no secret and no token. One file, read by each of them. */
export const RunSpec = z.strictObject({
  protocol: ProtocolVersion,
  run: RunId,
  agentName: z.string(),
  epoch: z.int().nonnegative(),
  manager: z.strictObject({
    url: z.url().describe("http://127.0.0.1:PORT of the manager"),
    own: z
      .boolean()
      .optional()
      .describe(
        "it runs as the same user on this machine: no token is shown to anybody else's program",
      ),
  }),
  sockets: z.strictObject({
    recorder: z.string().max(107).describe("frame socket of the recorder"),
    markers: z.string().max(107).describe("marker socket of the recorder, for the tool-runner"),
    runner: z.string().max(107).describe("agent-facing HTTP socket of the tool-runner"),
  }),
  runtimeDir: z.string().startsWith("/").describe("private, short, removed at the end"),
  spoolDir: z
    .string()
    .startsWith("/")
    .describe("the recorder's own, kept until the manager has verified"),
  runDir: z
    .string()
    .startsWith("/")
    .optional()
    .describe("the run's files, kept after it; a tool's unmerged version of files goes there"),
  agent: z.strictObject({
    runtime: Runtime,
    mode: Mode,
    goal: z.string().nullable(),
    model: AgentSpec.shape.model,
    keyDelivery: z
      .literal("env")
      .optional()
      .describe(
        "the model key itself goes into the CLI's variable; absent: only the gateway has it",
      ),
    argv: z
      .array(z.string())
      .describe(
        "Custom: the CLI's argv, its program resolved; else the runtime's resolved program and fixed arguments",
      ),
    version: z
      .string()
      .optional()
      .describe("version of the CLI, as its package says; absent when it does not"),
    timeoutMs: z.int().positive().nullable(),
    recordInput: z.boolean(),
    recordingEnabled: z.boolean(),
    whenFull: WhenFull.optional().describe("what a full spool does; block unless given"),
    spoolQuotaBytes: z
      .int()
      .min(MIN_SPOOL_QUOTA_BYTES)
      .optional()
      .describe("largest size of the recorder's file; 8 GiB unless given"),
    approvals: Approvals.optional().describe(
      "who answers what the CLI asks; a person unless given",
    ),
    approvalTimeoutMs: z
      .int()
      .positive()
      .optional()
      .describe("how long an unattended ask waits before it is refused"),
  }),
  resume: z
    .strictObject({
      run: RunId.describe("the run whose session it was"),
      session: z.string().min(1).max(128).describe("the CLI's own name of it"),
      archive: z.string().startsWith("/").describe("what that run kept of it"),
    })
    .optional()
    .describe("go on with the session of an older run; absent: begin a new one"),
  terminal: z.strictObject({ cols: z.int().min(1).max(1000), rows: z.int().min(1).max(1000) }),
  zone: Zone,
  tools: z.array(RunTool),
  modelEndpoint: ModelEndpoint.nullable().describe(
    "where the gateway sends model requests; null: the provider's own",
  ),
  shellPath: z.string().describe("PATH inside zone A after the shims"),
});
export type RunSpec = z.infer<typeof RunSpec>;

const Token = z.string().min(32).max(256);

/** A value that the manifest delivers into zone A; whoever writes down what zone A shows has to mask it. */
const ZoneSecret = z.base64();

/** What the supervisor hands each child on its standard input, as the first line. Never in env, argv or a file. */
export const AgentletBoot = z.strictObject({
  agentletToken: Token,
  agentToken: Token.describe("the only token that enters zone A"),
  modelKey: ZoneSecret.optional().describe("the model key, with `agentToken.delivery: env` only"),
});
export type AgentletBoot = z.infer<typeof AgentletBoot>;

export const RecorderBoot = z.strictObject({
  recorderToken: Token,
  agentletToken: Token.describe("proves the producer of the frame socket"),
  runnerToken: Token.describe("proves the producer of the marker socket"),
  signingSeed: z
    .string()
    .optional()
    .describe("secret half of the key that signs the recording's checkpoints, base64url"),
  zoneSecrets: z
    .array(ZoneSecret)
    .optional()
    .describe("values that the manifest delivers into zone A, masked in the recording"),
});
export type RecorderBoot = z.infer<typeof RecorderBoot>;

export const RunnerBoot = z.strictObject({
  runnerToken: Token,
  agentToken: Token.describe("what agents present"),
  secrets: z
    .record(z.string(), z.string())
    .describe("NAME/KEY to base64 of the value, tools' credentials only"),
  modelKey: z.string().nullable().describe("base64 of the model key"),
  sources: z
    .record(z.string(), SecretSource)
    .optional()
    .describe("NAME/KEY, or model-key, to where the value is read again at every use"),
  auditKey: z.string().describe("base64 of the per-run HMAC key of argument digests"),
  signingSeed: z
    .string()
    .describe(
      "base64url of the run's Ed25519 key, whose public half is registered with the manager",
    ),
});
export type RunnerBoot = z.infer<typeof RunnerBoot>;

/** Further lines on a child's standard input. The end of the input means the supervisor is gone: end the run. */
export const ChildCommand = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("stop"),
    reason: z.enum(["cancelled", "timed_out", "agentlet_fault", "recorder_lost"]),
  }),
  z
    .strictObject({ kind: z.literal("producer_lost"), cause: z.string() })
    .describe("to the recorder: the agentlet is dead, seal"),
  z
    .strictObject({ kind: z.literal("redact"), values: z.array(ZoneSecret).min(1).max(64) })
    .describe("to recorder and agentlet: values that came into zone A; mask them from here on"),
]);
export type ChildCommand = z.infer<typeof ChildCommand>;
