import * as z from "zod";
import { CallId, RunId } from "./ids.ts";
import { CallOutcome, EndDetail } from "./outcome.ts";
import { Tier } from "./tool-manifest.ts";
import { ProtocolVersion } from "./version.ts";

const Base = { time: z.iso.datetime(), run: RunId };

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
  "upstream_failed",
  "undecodable",
]);
export type BoundaryVerdict = z.infer<typeof BoundaryVerdict>;

/** What the tool-runner writes down of calls and requests. Names and digests, never a value. */
export const AuditRecord = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("call_started"),
    ...Base,
    call: CallId,
    tool: z.string(),
    operation: z.string(),
    face: z.enum(["mcp", "shim", "cli"]),
    digest: z.string().describe("digest of the tool that runs"),
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
    durationMs: z.int().nonnegative(),
    requests: z.int().nonnegative(),
    masked: z.int().nonnegative().describe("secrets found and masked in responses and output"),
  }),
  z.strictObject({
    type: z.literal("request"),
    ...Base,
    call: CallId.nullable().describe("null for requests of the agent itself"),
    source: z.enum(["tool", "model", "agent"]),
    credential: z.string().nullable().describe("name of the credential put in"),
    method: z.string().max(32),
    host: z.string().max(300).describe("host:port"),
    path: z.string().max(4096).describe("without the query"),
    status: z.int().nullable(),
    bytesUp: z.int().nonnegative(),
    bytesDown: z.int().nonnegative(),
    durationMs: z.int().nonnegative(),
    masked: z.int().nonnegative(),
    verdict: BoundaryVerdict,
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
  z.strictObject({ kind: z.literal("audit"), seq: z.int().positive(), record: AuditRecord }),
]);
export type AuditMessage = z.infer<typeof AuditMessage>;

/** The manager's answer: `seq` is on disk. The first one, to hello, says what it has; the runner goes on from there. */
export const AuditAck = z.strictObject({ kind: z.literal("ack"), seq: z.int().nonnegative() });
export type AuditAck = z.infer<typeof AuditAck>;
