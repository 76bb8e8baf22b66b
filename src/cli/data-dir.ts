import { accessSync, chmodSync, constants, statSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { makeDirectories } from "../kit/make-directories.ts";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import { shellWord } from "../kit/shell-word.ts";

/** Where runs are kept: `--data`, else `$AGENTKUBE_DATA`, `$XDG_STATE_HOME/agentkube`, `~/.local/state/agentkube`. */
export function resolveDataDir(
  given: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
  cwd: string,
): string {
  if (given === "")
    throw new PlatformError("usage", "Option --data needs a directory, got nothing");
  if (given !== undefined) return resolve(cwd, given);
  const named = env["AGENTKUBE_DATA"];
  if (named !== undefined && named !== "") return resolve(cwd, named);
  const state = env["XDG_STATE_HOME"];
  // The XDG rules: a relative path is ignored.
  if (state !== undefined && state.startsWith("/")) return join(state, "agentkube");
  const home = env["HOME"];
  return join(
    home !== undefined && home.startsWith("/") ? home : homedir(),
    ".local/state/agentkube",
  );
}

/** What a command that people copy needs to find this data directory again: ` --data DIR`, or nothing where it is the usual one. */
export function dataWords(
  dir: string,
  env: Readonly<Record<string, string | undefined>>,
  cwd: string,
): string {
  return dir === resolveDataDir(undefined, env, cwd) ? "" : ` --data ${shellWord(dir)}`;
}

/** Makes the data directory, private to this user. Throws `data_dir_unusable` with its path and the fix. */
export function openDataDir(dir: string): void {
  try {
    makeDirectories(dir);
    const found = statSync(dir);
    const uid = process.getuid?.();
    if (uid !== undefined && found.uid !== uid)
      throw new PlatformError(
        "data_dir_unusable",
        `Cannot use data directory "${dir}": it belongs to uid ${found.uid}, this is uid ${uid}`,
        { path: dir, fix: "give a directory of your own with --data DIR" },
      );
    if ((found.mode & 0o077) !== 0) chmodSync(dir, 0o700);
    accessSync(dir, constants.W_OK | constants.X_OK);
  } catch (error) {
    if (error instanceof PlatformError) throw error;
    throw new PlatformError(
      "data_dir_unusable",
      `Cannot write to data directory "${dir}": ${errnoOf(error) ?? messageOf(error)}`,
      { path: dir, fix: "give a directory that you can write to with --data DIR", cause: error },
    );
  }
}
