import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { parseJson } from "../kit/json-lines.ts";
import type { Log } from "../kit/log.ts";
import { PublicKey } from "../protocol/countersignature.ts";
import { RunId, type GrantId } from "../protocol/ids.ts";
import { RegisterRun, RunInfo, ShellInfo } from "../protocol/manager-api.ts";
import { syncDirectory, writeAtomically } from "./durable-file.ts";

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

/** The plain files of runs in the data directory. */
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

export function createRunStore(dataDir: string, log: Log): RunStore {
  const directory = (run: RunId): string => join(dataDir, "runs", run);
  const recordFile = (run: RunId): string => join(directory(run), "run.json");
  const shellFile: RunStore["shellFile"] = (run, grant, kind) =>
    join(directory(run), "shells", `${grant}.${kind}`);
  const save = async (record: RunRecord): Promise<void> =>
    await writeAtomically(recordFile(record.info.run), `${JSON.stringify(record, null, 2)}\n`);

  return {
    directory,
    file: (run, name) => join(directory(run), name),
    shellFile,
    async saveShell(info) {
      await mkdir(join(directory(info.run), "shells"), { recursive: true, mode: 0o700 });
      const text = `${JSON.stringify(info, null, 2)}\n`;
      await writeAtomically(shellFile(info.run, info.grant_id, "json"), text);
    },
    async loadShells(run) {
      const names = await readdir(join(directory(run), "shells")).catch(() => []);
      const shells: ShellInfo[] = [];
      for (const name of names) {
        if (!/^[0-9a-f]{16}\.json$/.test(name)) continue;
        try {
          const text = await readFile(join(directory(run), "shells", name), "utf8");
          shells.push(parseJson("facts of a shell", ShellInfo, text));
        } catch (error) {
          log.warn({ run, name, err: error }, "shell cannot be read, left out");
        }
      }
      return shells;
    },
    has: (run) => existsSync(recordFile(run)),
    save,
    async create(record) {
      // The supervisor may have made the directory before, for its logs.
      await mkdir(directory(record.info.run), { recursive: true, mode: 0o700 });
      await save(record);
      await syncDirectory(join(dataDir, "runs"));
    },
    async load() {
      const records: RunRecord[] = [];
      for (const name of await readdir(join(dataDir, "runs"))) {
        const run = RunId.safeParse(name);
        if (!run.success || !existsSync(recordFile(run.data))) continue;
        try {
          const text = await readFile(recordFile(run.data), "utf8");
          records.push(parseJson("run.json", RunRecord, text));
        } catch (error) {
          log.warn({ run: name, err: error }, "run cannot be read, left out");
        }
      }
      return records;
    },
    async remove(run) {
      await rm(directory(run), { recursive: true, force: true });
      await syncDirectory(join(dataDir, "runs"));
    },
    async size() {
      let total = 0;
      for (const room of ["runs", "spool", "store"]) total += await sizeOf(join(dataDir, room));
      return total;
    },
  };
}

async function sizeOf(path: string): Promise<number> {
  let total = 0;
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) total += await sizeOf(child);
    // A file may be removed while we look; it then counts as nothing.
    else if (entry.isFile())
      total += await stat(child).then(
        (facts) => facts.size,
        () => 0,
      );
  }
  return total;
}
