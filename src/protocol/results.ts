import * as z from "zod";
import { BoundaryVerdict } from "./audit.ts";
import { OmittedFile, ReplyFile } from "./tool-api.ts";
import { Tier } from "./tool-manifest.ts";
import { RunCall } from "./manager-api.ts";
import { CallOutcome, RunOutcome, RunReason } from "./outcome.ts";

/** The last line of `agentkube run --json`. */
export const RunResult = z.strictObject({
  run: z.string(),
  agent: z.string(),
  outcome: RunOutcome,
  reason: RunReason,
  exitCode: z.int().nullable(),
  signal: z.string().nullable(),
  detail: z
    .strictObject({ cause: z.string(), path: z.string().optional(), fix: z.string().optional() })
    .optional(),
  recording: z
    .strictObject({ path: z.string(), bytes: z.int(), sha256: z.string(), verified: z.boolean() })
    .nullable(),
  calls: z.array(RunCall),
  page: z.string().nullable(),
});
export type RunResult = z.infer<typeof RunResult>;

/** The last line of `agentkube tool call --json`. */
export const ToolCallResult = z.strictObject({
  outcome: CallOutcome,
  exitCode: z.int().nullable(),
  stdout: z.string(),
  stderr: z.string(),
  tier: Tier.nullable(),
  durationMs: z.int().nonnegative(),
  files: z
    .array(
      ReplyFile.partial({ base64: true }).extend({
        savedAs: z.string().optional().describe("with --files-to, in place of base64"),
      }),
    )
    .optional()
    .describe("left out when there are none"),
  omittedFiles: z.array(OmittedFile).optional(),
  detail: z
    .strictObject({ cause: z.string(), path: z.string().optional(), fix: z.string().optional() })
    .optional(),
  requests: z.array(
    z.strictObject({
      credential: z.string().nullable(),
      method: z.string(),
      host: z.string(),
      path: z.string(),
      status: z.int().nullable(),
      verdict: BoundaryVerdict,
    }),
  ),
});
export type ToolCallResult = z.infer<typeof ToolCallResult>;

/** `agentkube tool call --explain --json`: what a call would see and may use. */
export const ToolExplanation = z.strictObject({
  tool: z.string(),
  operation: z.string(),
  digest: z.string(),
  tier: Tier.describe("the least that the tool accepts"),
  argv: z.array(z.string()).describe("with {{name}} as it is written when no arguments were given"),
  stdin: z.enum(["none", "json", "mcp"]),
  cwd: z.string(),
  mounts: z.array(
    z.strictObject({ target: z.string(), source: z.string(), mode: z.enum(["ro", "rw"]) }),
  ),
  env: z.array(z.string()).describe("names, sorted"),
  network: z.array(z.string()).describe("host:port"),
  credentials: z.array(
    z.strictObject({
      name: z.string(),
      secret: z.string().describe("NAME/KEY"),
      delivery: z.string(),
      exposure: z.enum(["none", "tool"]).describe("tool: the tool has the value"),
      rule: z
        .strictObject({
          hosts: z.array(z.string()),
          methods: z.array(z.string()),
          paths: z.array(z.string()),
        })
        .nullable(),
    }),
  ),
  files: z.array(z.string()).describe("patterns of the files that come back"),
  limits: z.strictObject({
    timeoutMs: z.int(),
    cpuMs: z.int(),
    memoryBytes: z.int(),
    processes: z.int(),
    scratchBytes: z.int(),
    outputBytes: z.int(),
    filesBytes: z.int(),
  }),
});
export type ToolExplanation = z.infer<typeof ToolExplanation>;

/** `agentkube recording verify --json`. */
export const VerifyResult = z.strictObject({
  ok: z.boolean(),
  events: z.int().nonnegative(),
  bytes: z.int().nonnegative(),
  sha256: z.string(),
  problems: z.array(z.strictObject({ line: z.int().nonnegative(), problem: z.string() })),
  live: z
    .literal(true)
    .optional()
    .describe(
      "the run still records: `ok` is false, and `problems` are those of what is there so far",
    ),
  gapBytes: z
    .int()
    .positive()
    .optional()
    .describe(
      "output that was not recorded, as the recording itself says; left out when none is missing",
    ),
  proof: z
    .strictObject({
      checkpoints: z.int().nonnegative(),
      signedBytes: z.int().nonnegative().describe("signed by the recorder"),
      countersignedBytes: z.int().nonnegative().describe("and by the manager, which had them"),
      ended: z.boolean().describe("the end is signed too; else the recording was cut off"),
    })
    .optional()
    .describe("what the signed checkpoints beside it cover, when there are some"),
});
export type VerifyResult = z.infer<typeof VerifyResult>;

/** `agentkube tool receipt verify --json`. */
export const ReceiptVerifyResult = z.strictObject({
  ok: z.boolean(),
  run: z.string().nullable(),
  records: z.int().nonnegative(),
  calls: z.int().nonnegative().describe("receipts"),
  requests: z.int().nonnegative(),
  epochs: z.int().nonnegative().describe("lives of the tool-runner"),
  head: z.strictObject({ seq: z.int(), hash: z.string() }).nullable(),
  countersigned: z
    .int()
    .nullable()
    .describe("up to which record the manager has signed; null: nothing could be checked"),
  runnerKey: z.string().nullable(),
  managerKey: z.string().nullable(),
  problems: z.array(z.strictObject({ line: z.int().nonnegative(), problem: z.string() })),
});
export type ReceiptVerifyResult = z.infer<typeof ReceiptVerifyResult>;

/** `agentkube doctor --json`. */
export const DoctorResult = z.strictObject({
  tiers: z.array(
    z.strictObject({
      tier: Tier,
      available: z.boolean(),
      error: z.string().nullable(),
      fix: z.string().nullable(),
    }),
  ),
  runtimes: z.array(
    z.strictObject({
      runtime: z.string(),
      found: z.string().nullable(),
      version: z.string().nullable(),
    }),
  ),
  checks: z.array(
    z.strictObject({
      name: z.string(),
      ok: z.boolean().nullable().describe("null: a fact that is neither good nor bad"),
      found: z.string(),
      fix: z.string().nullable(),
    }),
  ),
});
export type DoctorResult = z.infer<typeof DoctorResult>;
