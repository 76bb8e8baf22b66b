import * as z from "zod";
import { RunEnd } from "./outcome.ts";

export const SealedRecording = z.strictObject({
  bytes: z.int().nonnegative(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  verified: z.boolean().describe("the manager has the same bytes, by hash"),
});
export type SealedRecording = z.infer<typeof SealedRecording>;

/** What a child of the supervisor says on its standard output, one JSON document a line. */
export const ChildStatus = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("ready") }),
  z.strictObject({ kind: z.literal("ended"), end: RunEnd }).describe("agentlet: how the run ended"),
  z
    .strictObject({ kind: z.literal("sealed"), recording: SealedRecording })
    .describe("recorder: shipped and verified, or given up"),
  z
    .strictObject({
      kind: z.literal("fault"),
      code: z.string(),
      message: z.string(),
      path: z.string().optional(),
      fix: z.string().optional(),
    })
    .describe("could not start; no secret in it"),
]);
export type ChildStatus = z.infer<typeof ChildStatus>;
