import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseJson } from "../kit/json-lines.ts";
import type { Log } from "../kit/log.ts";
import { RunId } from "../protocol/ids.ts";
import { ShellInfo } from "../protocol/manager-api.ts";
import { syncDirectory, writeAtomically } from "./durable-file.ts";
import { RunRecord } from "./run-store.ts";
import type { RunStore } from "./run-store.ts";

/** Runs as plain files of a data directory. */
export function createFileRunStore(dataDir: string, log: Log): RunStore {
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
