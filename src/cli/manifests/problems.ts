import { PlatformError } from "../../kit/platform-error.ts";

/** The error that names every problem of a manifest, or of the words that stand for one: one in the sentence, more in lines below it. */
export function invalidManifest(
  head: string,
  problems: readonly string[],
  fix: string,
): PlatformError {
  const body =
    problems.length === 1
      ? (problems[0] ?? "")
      : `${problems.length} problems\n${problems.map((problem) => `  ${problem}`).join("\n")}`;
  return new PlatformError("invalid_manifest", `${head}: ${body}`, { fix });
}

/** Throws `invalid_manifest` that names every problem, unless there is none. */
export function refuseProblems(problems: readonly string[]): void {
  if (problems.length > 0)
    throw invalidManifest(
      "Cannot use the manifest",
      problems,
      "correct what is named above; agentkube schema Tool prints what is allowed, docs/tool-authors.md explains it",
    );
}
