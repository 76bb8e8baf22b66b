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
        }),
      ),
    }),
  ),
});
export type ToolList = z.infer<typeof ToolList>;

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
  durationMs: z.int().nonnegative(),
});
export type ToolCallReply = z.infer<typeof ToolCallReply>;

export const ApiError = z.strictObject({
  error: z.strictObject({ code: z.string(), message: z.string(), fix: z.string().optional() }),
});
export type ApiError = z.infer<typeof ApiError>;
