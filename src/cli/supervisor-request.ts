import * as z from "zod";
import { RunId } from "../protocol/ids.ts";

/** What `run` asks of a supervisor: the one line on its standard input. The texts may hold secrets. */
export const SupervisorRequest = z.strictObject({
  cwd: z.string().startsWith("/"),
  dataDir: z.string().startsWith("/"),
  workspace: z.string(),
  files: z.array(z.string()),
  stdin: z.string().nullable().describe("the text of standard input, for the file named -"),
  runtime: z.string().nullable(),
  goal: z.string().nullable(),
  resume: z.string().nullable().describe("the older run whose session it goes on with"),
  modelEndpoint: z.string().nullable(),
  secrets: z.array(z.string()),
  port: z.int().min(0).max(65_535).nullable(),
  terminal: z.strictObject({ cols: z.int().min(1).max(1000), rows: z.int().min(1).max(1000) }),
  attended: z.boolean().describe("a person sits at the terminal"),
});
export type SupervisorRequest = z.infer<typeof SupervisorRequest>;

/** What the supervisor says on its standard output, one JSON document a line. */
export const SupervisorReport = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("note"), message: z.string() }),
  z
    .strictObject({ kind: z.literal("registered"), run: RunId, agent: z.string() })
    .describe("the manager knows the run; it can be watched"),
  z.strictObject({ kind: z.literal("started") }).describe("all programs of the run are ready"),
  z
    .strictObject({
      kind: z.literal("fault"),
      agent: z.string().nullable(),
      code: z.string(),
      message: z.string(),
      path: z.string().optional(),
      fix: z.string().optional(),
    })
    .describe("refused or failed before the run was started; no secret in it"),
]);
export type SupervisorReport = z.infer<typeof SupervisorReport>;
