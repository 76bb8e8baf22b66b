import { setSandboxSearchPath } from "../../kit/bubblewrap-zone.ts";
import { PlatformError } from "../../kit/platform-error.ts";
import { ExitCode } from "../../protocol/outcome.ts";
import type { Tool } from "../../protocol/tool-manifest.ts";
import { oneLine } from "../human.ts";
import type { Placed } from "../manifests/load.ts";
import { parseSecretWords } from "../secrets.ts";
import type { ToolAction, ToolContext } from "./action.ts";
import { examineTool, sentenceOf, type ToolFault } from "./problems.ts";
import { chooseTool, readToolFiles, type ToolFiles } from "./tool-files.ts";

/** `agentkube tool check`: everything that keeps a Tool from running here, and the secrets it will ask for. */
export const check: ToolAction = {
  words: { min: 1, max: 1, expected: "a directory, a manifest or an archive" },
  run: runCheck,
};

interface CheckedTool {
  readonly name: string;
  readonly file: string;
  readonly operations: readonly string[];
  /** one sentence each: cause and fix */
  readonly problems: readonly string[];
  readonly faults: readonly ToolFault[];
  /** secrets that a call needs and that neither the files nor `--secret` give: not a fault of the tool */
  readonly missingSecrets: readonly { secret: string; credential: string; fix: string }[];
}

async function runCheck(context: ToolContext, [word = "."]: readonly string[]): Promise<number> {
  const { values, output, cwd, env } = context;
  setSandboxSearchPath(env["PATH"] ?? "");
  const files = await readToolFiles(word, cwd);
  if (values.tool !== undefined || (files.tools.length === 0 && files.problems.length === 0))
    chooseTool({ ...files, problems: [] }, word, values.tool);
  const given = parseSecretWords(values.secret ?? []).map(({ id }) => id);
  const chosen = files.tools.filter(
    ({ value }) => values.tool === undefined || value.metadata.name === values.tool,
  );
  const stop = new AbortController();
  const stopSignals = context.onSignal(() =>
    stop.abort(new PlatformError("cancelled", "Cancelled")),
  );
  const checked: CheckedTool[] = [];
  try {
    for (const tool of chosen) {
      const { faults, operations } = await examineTool(tool, stop.signal);
      checked.push({
        name: tool.value.metadata.name,
        file: tool.place.file,
        operations,
        problems: faults.map(sentenceOf),
        faults,
        missingSecrets: missingSecretsOf(tool, files, given),
      });
    }
  } finally {
    stopSignals();
  }
  const ok = files.problems.length === 0 && checked.every(({ problems }) => problems.length === 0);
  if (output.json) output.document({ ok, problems: files.problems, tools: checked });
  else show(files, checked, ok, context);
  return ok ? ExitCode.done : ExitCode.usage;
}

function show(
  files: ToolFiles,
  checked: readonly CheckedTool[],
  ok: boolean,
  { output }: ToolContext,
): void {
  for (const problem of files.problems) output.line(oneLine(problem));
  for (const { name, operations, problems, missingSecrets } of checked) {
    for (const problem of problems) output.line(oneLine(problem));
    if (problems.length === 0)
      output.line(`${output.paint("green", "OK")}  ${name}: ${operations.join(", ")}`);
    for (const { secret, credential, fix } of missingSecrets)
      output.note(
        oneLine(`${name}: a call needs the secret ${secret} (credential ${credential}); ${fix}`),
      );
  }
  if (!ok) output.line(output.paint("red", "NOT OK"));
}

function missingSecretsOf(
  { value }: Placed<Tool>,
  files: ToolFiles,
  given: readonly string[],
): CheckedTool["missingSecrets"] {
  return (value.spec.credentials ?? []).flatMap(({ name, secretRef }) => {
    const secret = `${secretRef.name}/${secretRef.key}`;
    const isInFiles = files.secrets.some(
      (document) =>
        document.value.metadata.name === secretRef.name &&
        (Object.hasOwn(document.value.data ?? {}, secretRef.key) ||
          Object.hasOwn(document.value.stringData ?? {}, secretRef.key)),
    );
    if (isInFiles || given.includes(secret)) return [];
    return [{ secret, credential: name, fix: `give it with --secret ${secret}=@FILE` }];
  });
}
