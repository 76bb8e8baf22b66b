import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseJson } from "../kit/json-lines.ts";
import { errnoOf } from "../kit/platform-error.ts";
import { ShellInfo } from "../protocol/manager-api.ts";

/** The shells that a run has had, as its manager wrote them down, the newest first. `dir` is the run's. */
export async function keptShells(dir: string): Promise<ShellInfo[]> {
  const names = await readdir(join(dir, "shells")).catch((error: unknown) => {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  });
  const shells: ShellInfo[] = [];
  for (const name of names.filter((file) => file.endsWith(".json")))
    shells.push(parseJson("a shell", ShellInfo, await readFile(join(dir, "shells", name), "utf8")));
  return shells.toSorted((a, b) => b.openedAt.localeCompare(a.openedAt));
}
