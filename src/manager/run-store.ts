import * as z from "zod";
import { PublicKey } from "../protocol/countersignature.ts";
import type { GrantId, RunId } from "../protocol/ids.ts";
import { RegisterRun, RunInfo, type ShellInfo } from "../protocol/manager-api.ts";

/** `run.json`: what people see of a run, and what the manager needs to know its parts again after a restart. */
export const RunRecord = z.strictObject({
  info: RunInfo,
  tokenHashes: RegisterRun.shape.tokenHashes,
  runtimeDir: z.string(),
  spoolDir: z.string(),
  supervisorStart: z
    .string()
    .nullable()
    .describe("start time of the supervisor's pid, so that a reused pid is not taken for it"),
  epochs: z.strictObject({ agentlet: z.int(), recorder: z.int(), runner: z.int() }),
  stopAskedBy: z.string().nullable(),
  pod: z
    .boolean()
    .optional()
    .describe("its parts are containers; nothing of it is on this machine"),
  runnerKey: PublicKey.optional().describe("signs the receipts of the run's tool calls"),
  recorderKey: PublicKey.optional().describe("signs the checkpoints of the run's recording"),
  managerKey: PublicKey.optional().describe("of the manager that took the run in"),
});
export type RunRecord = z.infer<typeof RunRecord>;

/** A file of a run that its manager writes. */
export type RunFileName =
  | "events.jsonl"
  | "audit.jsonl"
  | "audit.proofs.jsonl"
  | "recording.cast"
  | "recording.proofs.jsonl";

/** Where runs are kept, each with the files that its manager appends to. Two runs never share one. */
export interface RunStore {
  directory(run: RunId): string;
  file(run: RunId, name: RunFileName): string;
  /** `json`: what is known of a shell; `cast`: its recording, with its proofs beside it. */
  shellFile(run: RunId, grant: GrantId, kind: "json" | "cast" | "proofs.jsonl"): string;
  saveShell(info: ShellInfo): Promise<void>;
  /** Every shell of a run that can be read. */
  loadShells(run: RunId): Promise<ShellInfo[]>;
  has(run: RunId): boolean;
  create(record: RunRecord): Promise<void>;
  save(record: RunRecord): Promise<void>;
  /** Every run that can be read; one that cannot is left alone and logged. */
  load(): Promise<RunRecord[]>;
  remove(run: RunId): Promise<void>;
  /** Bytes of all runs, spools and packages. */
  size(): Promise<number>;
}
