import * as z from "zod";
import { PublicKey, Signature } from "./countersignature.ts";
import { CallId, RunId } from "./ids.ts";
import { RunnerReport } from "./metrics.ts";
import { CallOutcome, EndDetail } from "./outcome.ts";
import { Tier } from "./tool-manifest.ts";
import { ProtocolVersion } from "./version.ts";

const Digest = z.string().regex(/^[0-9a-f]{64}$/);
const Count = z.int().nonnegative();

/** Every record. `epoch` and `prev` are the chain's: see audit-chain.ts. A record that is not yet in a chain has neither. */
const Base = {
  time: z.iso.datetime(),
  run: RunId,
  epoch: z.int().positive().optional().describe("counts the lives of the run's tool-runner"),
  prev: Digest.optional().describe("SHA-256 of the line before; of the run's name for the first"),
};

/** Why a boundary let a request pass or not. */
export const BoundaryVerdict = z.enum([
  "allowed",
  "allowed_without_credential",
  "refused_host",
  "refused_address",
  "refused_rule",
  "refused_ambiguous",
  "refused_name_mismatch",
  "refused_ended",
  "refused_token",
  "refused_credential",
  "refused_budget",
  "upstream_failed",
  "undecodable",
]);
export type BoundaryVerdict = z.infer<typeof BoundaryVerdict>;

/** What a model API said that a request took. `unknown`: it took some, and nobody said how much. */
export const ModelUsage = z.union([
  z.literal("unknown"),
  z.strictObject({
    inputTokens: Count.describe("cached ones included"),
    outputTokens: Count,
    cachedTokens: Count.describe("of the input, read from the provider's cache"),
  }),
]);
export type ModelUsage = z.infer<typeof ModelUsage>;

/** What the tool-runner signs at the end of a call, together with the whole record it is in. */
const Receipt = z.strictObject({
  key: PublicKey.describe("of the run's tool-runner, registered before its first call"),
  started: z
    .int()
    .positive()
    .nullable()
    .describe("sequence number of call_started; null: the call was refused before it began"),
  digest: z.string().nullable().describe("digest of the tool that ran"),
  policy: Digest.nullable().describe("SHA-256 of what the tool was allowed"),
  arguments: Digest.nullable().describe("HMAC-SHA256 of the arguments under the run's audit key"),
  listed: Count.describe("request records of the call in this chain"),
  dropped: Count.describe("requests that are only counted, in an overflow record"),
  requestsDigest: Digest.describe("SHA-256 over the SHA-256 of each of these records' lines"),
  signature: Signature.optional(),
});
export type Receipt = z.infer<typeof Receipt>;

const FilePath = z.string().max(512);

/** What a call with a private copy of the workspace was given of earlier calls, and what it brought home; both lists may be cut. */
const WorkspaceFlow = z.strictObject({
  given: z
    .strictObject({
      files: z.array(z.strictObject({ path: FilePath, sha256: Digest, from: CallId })).max(32),
      count: Count,
    })
    .optional()
    .describe("files whose content an earlier call brought into the workspace"),
  brought: z
    .strictObject({
      files: z
        .array(
          z.strictObject({ path: FilePath, sha256: Digest.nullable().describe("null: removed") }),
        )
        .max(32),
      count: Count,
    })
    .optional(),
});

/** What the tool-runner writes down of calls and requests. Names and digests, never a value. */
export const AuditRecord = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("epoch_started"),
    ...Base,
    key: PublicKey.describe("signs this record and every receipt of the epoch"),
    argumentsKey: Digest.describe("SHA-256 of the key of the arguments' digests"),
    signature: Signature.optional(),
  }),
  z.strictObject({
    type: z.literal("call_started"),
    ...Base,
    call: CallId,
    tool: z.string(),
    operation: z.string(),
    face: z.enum(["mcp", "shim", "cli"]),
    digest: z.string().describe("digest of the tool that runs"),
    policy: Digest.optional().describe("SHA-256 of what the tool is allowed"),
    arguments: z.string().describe("HMAC-SHA256 of the arguments under the run's audit key, hex"),
  }),
  z.strictObject({
    type: z.literal("call"),
    ...Base,
    call: CallId,
    tool: z.string(),
    operation: z.string(),
    outcome: CallOutcome,
    exitCode: z.int().nullable(),
    detail: EndDetail.optional(),
    tier: Tier.nullable(),
    durationMs: Count,
    requests: Count,
    masked: Count.describe("secrets found and masked in responses and output"),
    files: z
      .array(z.strictObject({ path: FilePath, bytes: Count, sha256: Digest }))
      .max(32)
      .optional()
      .describe("files it gave as results, as they were given"),
    workspace: WorkspaceFlow.optional(),
    flagged: z
      .array(z.string().max(64))
      .max(16)
      .optional()
      .describe("kinds of tokens, not ours, that its output seems to hold"),
    receipt: Receipt.optional(),
  }),
  z.strictObject({
    type: z.literal("request"),
    ...Base,
    call: CallId.nullable().describe("null for requests of the agent itself"),
    source: z.enum(["tool", "model", "agent"]),
    credential: z.string().nullable().describe("name of the credential put in"),
    credentialVersion: z
      .string()
      .max(32)
      .nullable()
      .optional()
      .describe(
        "EPOCH.N: the Nth value seen of it in this epoch; nothing is derived from the value",
      ),
    method: z.string().max(32),
    host: z.string().max(300).describe("host:port"),
    path: z.string().max(4096).describe("without the query"),
    template: z.string().max(2048).optional().describe("the path of the rule that let it pass"),
    status: z.int().nullable(),
    bytesUp: Count,
    bytesDown: Count,
    durationMs: Count,
    masked: Count.describe("reflections of secrets, masked in the answer"),
    usage: ModelUsage.optional().describe("of requests that make a model answer"),
    verdict: BoundaryVerdict,
  }),
  z.strictObject({
    type: z.literal("overflow"),
    ...Base,
    call: CallId.nullable().describe("null for requests of the agent itself"),
    requests: z.int().positive().describe("requests that have no record of their own"),
    verdicts: z.partialRecord(BoundaryVerdict, Count),
    bytesUp: Count,
    bytesDown: Count,
  }),
  z.strictObject({
    type: z.literal("credential"),
    ...Base,
    secret: z.string().max(600).describe("NAME/KEY"),
    version: z.string().max(32).nullable().describe("null: there is none any more"),
    from: z.enum(["value", "file", "exec"]),
    problem: z.string().max(300).nullable().describe("why there is none, without its text"),
  }),
  z.strictObject({
    type: z.literal("budget"),
    ...Base,
    limit: z.enum(["requests", "inputTokens", "outputTokens", "totalTokens"]),
    allowed: Count,
    used: Count,
  }),
]);
export type AuditRecord = z.infer<typeof AuditRecord>;

/** Tool-runner to manager, WebSocket `/v1/runs/{run}/audit`, Bearer runner token. */
export const AuditMessage = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("hello"),
    protocol: ProtocolVersion,
    epoch: z.int().nonnegative(),
  }),
  z.strictObject({
    kind: z.literal("audit"),
    seq: z.int().positive(),
    record: AuditRecord,
    more: z
      .array(z.strictObject({ seq: z.int().positive(), record: AuditRecord }))
      .max(256)
      .optional()
      .describe("the records that follow, of the same moment"),
  }),
  z.strictObject({ kind: z.literal("report"), report: RunnerReport }).describe("not acknowledged"),
]);
export type AuditMessage = z.infer<typeof AuditMessage>;
