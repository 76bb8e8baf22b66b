import { PlatformError } from "../kit/platform-error.ts";
import type { ActResult } from "../protocol/manager-api.ts";
import { ExitCode } from "../protocol/outcome.ts";
import type { ManagerClient } from "./client.ts";
import { findManager } from "./client.ts";
import { oneLine } from "./human.ts";
import type { Output } from "./output.ts";
import { findRun } from "./run-files.ts";

/** The manager of a live run. Throws `PlatformError` when the run has ended or no manager runs. */
export async function managerOfLive(dataDir: string, run: string): Promise<ManagerClient> {
  const { info } = await findRun(dataDir, run);
  if (info.phase === "ended")
    throw new PlatformError("run_ended", `Run "${run}" has ended`, {
      fix: "see agentkube ps for live runs",
    });
  const manager = await findManager(dataDir);
  if (manager !== null) return manager;
  throw new PlatformError("manager_away", `No manager runs for "${dataDir}"`, {
    fix: "a supervisor restarts it within seconds; try again",
    retryable: true,
  });
}

/** Says what became of an act. 0 done, 1 unconfirmed, 3 refused. */
export function sayResult(result: ActResult, output: Output): number {
  if (output.json) output.document(result);
  else output.line(`${result.phase}: ${oneLine(result.message)}`);
  switch (result.phase) {
    case "done":
      return ExitCode.done;
    case "unconfirmed":
      return ExitCode.failed;
    case "refused":
      return ExitCode.refused;
  }
}
