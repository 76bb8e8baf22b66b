import * as z from "zod";
import { CallOutcome, EndDetail } from "./outcome.ts";

/**
 * The tool-runner's face for shims, on the same HTTP listener as `/mcp`, with `Authorization: Bearer <agent token>`:
 *
 *   GET  /v1/tools             → ToolList
 *   POST /v1/tools/TOOL/OPERATION  {arguments} → ToolCallReply (200 whatever the outcome; 4xx for bad requests)
 */
export const ToolList = z.strictObject({
  tools: z.array(
    z.strictObject({
      name: z.string(),
      description: z.string(),
      operations: z.array(
        z.strictObject({
          name: z.string(),
          description: z.string(),
          inputSchema: z.record(z.string(), z.unknown()),
          files: z.array(z.string()).optional().describe("patterns of the files it gives"),
        }),
      ),
    }),
  ),
});
export type ToolList = z.infer<typeof ToolList>;

/** A file that a call gave as a result. */
export const ReplyFile = z.strictObject({
  path: z.string().describe("relative to the tool's working directory"),
  mediaType: z.string().describe("by its name; a claim of whoever made it"),
  bytes: z.int().nonnegative(),
  sha256: z.string(),
  base64: z.string(),
});
export type ReplyFile = z.infer<typeof ReplyFile>;

/** What fits an operation's `files` and is not given: a link, directory or special file; more than the limits; a name that is not UTF-8 or holds a secret. */
export const OmittedFile = z.strictObject({
  path: z.string(),
  why: z.enum(["not_a_file", "unreadable", "too_large", "too_many", "bad_name"]),
});
export type OmittedFile = z.infer<typeof OmittedFile>;

export const ToolCallRequest = z.strictObject({ arguments: z.record(z.string(), z.unknown()) });
export type ToolCallRequest = z.infer<typeof ToolCallRequest>;

export const ToolCallReply = z.strictObject({
  outcome: CallOutcome,
  exitCode: z.int().nullable(),
  signal: z.string().nullable().describe("name of the signal that ended the tool"),
  stdout: z.string(),
  stderr: z.string(),
  truncated: z.boolean(),
  detail: EndDetail.optional(),
  files: z.array(ReplyFile).optional().describe("left out when there are none"),
  omittedFiles: z.array(OmittedFile).optional(),
  durationMs: z.int().nonnegative(),
});
export type ToolCallReply = z.infer<typeof ToolCallReply>;

export const ApiError = z.strictObject({
  error: z.strictObject({ code: z.string(), message: z.string(), fix: z.string().optional() }),
});
export type ApiError = z.infer<typeof ApiError>;
