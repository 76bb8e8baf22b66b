import { existsSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { driverOf } from "../agentlet/drivers/registry.ts";
import { isInRange } from "../agentlet/states/version-range.ts";
import { parseJson } from "../kit/json-lines.ts";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import { KEPT_SESSION_FILE, KeptSession } from "../protocol/kept-session.ts";
import type { RunSpec } from "../protocol/run-spec.ts";
import { requireProtocol } from "../protocol/version.ts";
import { findRun } from "./run-files.ts";

/** An older run's session, as its files say. */
export interface OlderSession {
  readonly kept: KeptSession;
  readonly archive: string;
}

const MAX_HEAD_BYTES = 64 * 1024;

/** True when something of an ended run can be resumed. */
export function isResumable(runDir: string): boolean {
  return existsSync(join(runDir, KEPT_SESSION_FILE));
}

/** What an older run kept of its session. Throws `unknown_run`, `run_live`, `nothing_kept` or `session_unreadable`. */
export async function findOlderSession(dataDir: string, run: string): Promise<OlderSession> {
  const { info, dir, live } = await findRun(dataDir, run);
  if (live)
    throw new PlatformError("run_live", `Cannot resume run "${run}": it is still live`, {
      fix: `agentkube attach ${run} --write goes on with it, agentkube stop ${run} ends it`,
    });
  const archive = join(dir, KEPT_SESSION_FILE);
  try {
    const kept = parseJson("a kept session", KeptSession, await firstLine(archive));
    requireProtocol(`the kept session of run "${run}"`, kept.protocol);
    return { kept, archive };
  } catch (error) {
    if (errnoOf(error) === "ENOENT")
      throw new PlatformError(
        "nothing_kept",
        `Cannot resume run "${run}": nothing of its ${info.runtime} session was kept`,
        {
          path: archive,
          fix: `a session is kept when its CLI has had a turn and was not killed (agentkube logs ${run}); start without --resume`,
          cause: error,
        },
      );
    throw new PlatformError(
      "session_unreadable",
      `Cannot resume run "${run}": ${messageOf(error)}`,
      { path: archive, fix: "start without --resume", cause: error },
    );
  }
}

/** Checks that an Agent can go on with an older session; notes for a person. Throws `cannot_resume` with the fix. */
export function checkResume(
  { kept }: OlderSession,
  agent: Pick<RunSpec["agent"], "runtime" | "mode" | "version">,
  workspace: string,
): string[] {
  const refuse = (why: string, fix: string): never => {
    throw new PlatformError("cannot_resume", `Cannot resume run "${kept.run}": ${why}`, { fix });
  };
  if (agent.runtime !== kept.runtime)
    refuse(
      `its session is of ${kept.runtime}, and this Agent's runtime is ${agent.runtime}`,
      `use an Agent of runtime ${kept.runtime}`,
    );
  const modes = driverOf(agent.runtime).session?.modes ?? [];
  if (!modes.includes(agent.mode))
    refuse(
      `${kept.runtime} cannot go on with a session in mode ${agent.mode}`,
      `use mode ${modes.join(" or ") || "of another runtime"}`,
    );
  // A CLI finds a session by the directory that it was in, and the session speaks of files there.
  if (workspace !== kept.workspace)
    refuse(
      `its workspace was "${kept.workspace}", and this one is "${workspace}"`,
      `add --workspace ${kept.workspace}`,
    );
  const { version = null } = agent;
  if (version === kept.version) return [];
  if (version === null || kept.version === null)
    return ["the version of the CLI is not known; the older session may not fit it"];
  if (!isInRange(version, `>=${kept.version}`))
    refuse(
      `its session was written by ${kept.runtime} ${kept.version}, and ${version} is older`,
      `install ${kept.runtime} ${kept.version} or newer`,
    );
  return [`the session was written by ${kept.runtime} ${kept.version}, this is ${version}`];
}

/** The part of the run spec that says so. */
export function resumeOf({ kept, archive }: OlderSession): NonNullable<RunSpec["resume"]> {
  return { run: kept.run, session: kept.session, archive };
}

async function firstLine(path: string): Promise<string> {
  await using file = await open(path, "r");
  const { bytesRead, buffer } = await file.read(Buffer.alloc(MAX_HEAD_BYTES), 0, MAX_HEAD_BYTES, 0);
  const [line = ""] = buffer.toString("utf8", 0, bytesRead).split("\n", 1);
  return line;
}
