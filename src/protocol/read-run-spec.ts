import { readFileSync } from "node:fs";
import { parseJson, READ_ONCE } from "../kit/json-lines.ts";
import { PlatformError, messageOf } from "../kit/platform-error.ts";
import { RunSpec } from "./run-spec.ts";
import { requireProtocol } from "./version.ts";

/** Reads and checks the run spec that `AGENTKUBE_RUN_SPEC` names. Throws `PlatformError` with the path and the fix. */
export function readRunSpec(env: NodeJS.ProcessEnv): RunSpec {
  const path = env["AGENTKUBE_RUN_SPEC"];
  if (path === undefined || path === "") {
    throw new PlatformError(
      "run_spec_missing",
      "Expected AGENTKUBE_RUN_SPEC to name a run spec file, got nothing",
      {
        fix: "set AGENTKUBE_RUN_SPEC to the JSON file that agentkube run (or agentkube pod) wrote",
      },
    );
  }
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new PlatformError(
      "run_spec_missing",
      `Cannot read the run spec "${path}": ${messageOf(error)}`,
      { path, cause: error },
    );
  }
  // The version is looked at first: another version may have other fields, and the refusal must name both.
  const version = /"protocol"\s*:\s*(\d+)/.exec(text)?.[1];
  if (version !== undefined) requireProtocol(`the run spec "${path}"`, Number(version));
  return parseJson(`a run spec in "${path}"`, RunSpec, text, READ_ONCE);
}
