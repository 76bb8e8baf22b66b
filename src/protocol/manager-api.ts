import * as z from "zod";
import { ActPhase, AgentletEvent, Choice, PromptText } from "./agentlet-link.ts";
import { SealedRecording } from "./child-status.ts";
import { PublicKey } from "./countersignature.ts";
import { GrantId, RunId } from "./ids.ts";
import { CallOutcome, RunEnd } from "./outcome.ts";
import { ProtocolVersion } from "./version.ts";

/** `manager.json` in the data directory, 0600, held under `manager.lock`. */
export const ManagerFile = z.strictObject({
  protocol: ProtocolVersion,
  pid: z.int().positive(),
  port: z.int().min(1).max(65_535),
  token: z.string().min(32).describe("operator token"),
});
export type ManagerFile = z.infer<typeof ManagerFile>;

const TokenHash = z
  .string()
  .regex(/^[0-9a-f]{64}$/)
  .describe("SHA-256 of the token, hex");

/** `POST /v1/runs`: a supervisor announces a run. The manager keeps hashes, never tokens. */
export const RegisterRun = z.strictObject({
  protocol: ProtocolVersion,
  run: RunId,
  agent: z.string(),
  runtime: z.string(),
  mode: z.string(),
  supervisorPid: z.int().positive(),
  runtimeDir: z.string().startsWith("/").describe("removed when the manager closes the run itself"),
  spoolDir: z
    .string()
    .startsWith("/")
    .describe("the recorder's own; completes the recording when nobody else is left to ship it"),
  tools: z.array(z.string()),
  terminal: z.strictObject({ cols: z.int(), rows: z.int() }),
  interactive: z.boolean().describe("an attached viewer may write"),
  resumes: RunId.optional().describe("the older run whose session it goes on with"),
  tokenHashes: z.strictObject({ agentlet: TokenHash, recorder: TokenHash, runner: TokenHash }),
  runnerKey: PublicKey.describe("signs the receipts of the run's tool calls"),
  recorderKey: PublicKey.optional().describe("signs the checkpoints of the run's recording"),
});
export type RegisterRun = z.infer<typeof RegisterRun>;

/** `POST /v1/runs/{run}/prompt`, `/answer` and `/interrupt`: what a person does to the CLI from afar. */
export const PromptRun = z.strictObject({ text: PromptText });
export type PromptRun = z.infer<typeof PromptRun>;
export const AnswerRun = z.strictObject({
  ask: z.int().positive().nullable().describe("the ask that is meant; null: the one that stands"),
  choice: Choice,
});
export type AnswerRun = z.infer<typeof AnswerRun>;

/** What became of it. `unconfirmed`: the keys were typed, and nothing has shown that they arrived. */
export const ActResult = z.strictObject({
  phase: ActPhase.exclude(["accepted"]),
  message: z.string(),
});
export type ActResult = z.infer<typeof ActResult>;

export const RunPhase = z.enum(["starting", "running", "ending", "ended"]);
export type RunPhase = z.infer<typeof RunPhase>;

export const RunCall = z.strictObject({
  tool: z.string(),
  operation: z.string(),
  outcome: CallOutcome,
  durationMs: z.int().nonnegative(),
});
export type RunCall = z.infer<typeof RunCall>;

/** `GET /v1/runs/{run}`, a row of `GET /v1/runs` (`{runs: [...]}`), and what `run.json` holds beside the token hashes. */
export const RunInfo = z.strictObject({
  run: RunId,
  agent: z.string(),
  runtime: z.string(),
  mode: z.string(),
  phase: RunPhase,
  state: z.string().describe("last AgentState"),
  startedAt: z.iso.datetime(),
  endedAt: z.iso.datetime().nullable(),
  terminal: z.strictObject({ cols: z.int(), rows: z.int() }),
  interactive: z.boolean(),
  resumes: RunId.optional().describe("the older run whose session it goes on with"),
  supervisorPid: z.int().positive().describe("of a pod: the manager that took it in"),
  end: RunEnd.nullable(),
  recording: SealedRecording.extend({ path: z.string() }).nullable(),
  committedBytes: z.int().nonnegative().describe("bytes of the recording that are durable so far"),
  calls: z.array(RunCall),
  agentletAwayMs: z
    .int()
    .nonnegative()
    .optional()
    .describe("for so long a live run has had no agentlet connected, in `ms`; absent while it has"),
});
export type RunInfo = z.infer<typeof RunInfo>;

/** `POST /v1/runs/{run}/shells`, operator token: a grant to open one shell in the run's zone A. */
export const OpenShell = z.strictObject({
  cols: z.int().min(1).max(1000).default(80),
  rows: z.int().min(1).max(1000).default(24),
  argv: z
    .array(z.string().min(1).max(4096))
    .min(1)
    .max(256)
    .nullable()
    .default(null)
    .describe("null: an interactive shell"),
});
export type OpenShell = z.infer<typeof OpenShell>;

/** A shell of a run: the answer to `POST /v1/runs/{run}/shells` and a row of the GET (`{shells: [...]}`), the newest first. */
export const ShellInfo = z.strictObject({
  run: RunId,
  grant_id: GrantId,
  session: z.string().describe("its recording's session"),
  by: z.string().describe("who asked for it"),
  argv: z.array(z.string()).nullable(),
  terminal: z.strictObject({ cols: z.int(), rows: z.int() }),
  openedAt: z.iso.datetime(),
  endedAt: z.iso.datetime().nullable(),
  reason: z.string().nullable().describe("why it ended"),
  exitCode: z
    .int()
    .min(0)
    .max(255)
    .nullable()
    .default(null)
    .describe("its program's, 128+n for a signal; null while it is open and when nobody knows"),
  recording: SealedRecording.nullable(),
  committedBytes: z.int().nonnegative(),
});
export type ShellInfo = z.infer<typeof ShellInfo>;
export const ShellList = z.strictObject({ shells: z.array(ShellInfo) });
export type ShellList = z.infer<typeof ShellList>;

/** `POST /v1/runs/{run}/end` by the supervisor (operator token): the run is over and no process of it is left. */
export const FinishRun = z.strictObject({ end: RunEnd, recording: SealedRecording.nullable() });
export type FinishRun = z.infer<typeof FinishRun>;

/** `GET /v1/health`, operator token. */
export const Health = z.strictObject({
  protocol: ProtocolVersion,
  pid: z.int().positive(),
  version: z.string(),
  key: PublicKey.describe(
    "the manager's public key, which signs what it has of audits and recordings",
  ),
  liveRuns: z.int().nonnegative(),
});
export type Health = z.infer<typeof Health>;

/** `GET /v1/runs`: the newest first. */
export const RunList = z.strictObject({ runs: z.array(RunInfo) });
export type RunList = z.infer<typeof RunList>;

/**
 * WebSocket `/v1/runs/{run}/follow?from=SEQ`, operator token: one text message each. The run first, then its events from `from`
 * (default: the first), then both as they come. Closes with 1000 after the run with phase `ended`.
 */
export const FollowMessage = z.union([
  z.strictObject({ kind: z.literal("run"), info: RunInfo }),
  z.strictObject({ seq: z.int().positive(), event: AgentletEvent }),
]);
export type FollowMessage = z.infer<typeof FollowMessage>;
