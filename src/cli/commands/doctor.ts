import { setSandboxSearchPath } from "../../kit/bubblewrap-zone.ts";
import { ExitCode } from "../../protocol/outcome.ts";
import { PlatformError } from "../../kit/platform-error.ts";
import type { DoctorResult } from "../../protocol/results.ts";
import { homedir } from "node:os";
import { dataOption, defineCommand, type CommandContext } from "../command.ts";
import { resolveDataDir } from "../data-dir.ts";
import { findRuntimes, machineChecks, type Check } from "../doctor-machine.ts";
import { probeTiers, probeZone } from "../doctor-probes.ts";
import { humanTable, oneLine } from "../human.ts";
import { UsageError, type Output } from "../output.ts";
import { findProgram } from "../resolve-program.ts";
import { runtimeTreeOf } from "../runtime-tree.ts";
import { knownRuntimes, type RuntimeFacts } from "../../protocol/runtimes.ts";
import { nearest } from "../suggest.ts";
import { neverWhole } from "../zone-policy.ts";

const options = {
  runtime: {
    type: "string",
    value: "RUNTIME",
    help: "print what zone A would see of this runtime",
  },
  data: dataOption,
} as const;
type Context = CommandContext<typeof options>;

/** `agentkube doctor`: tries what a run needs, and says what to install for the rest. */
export const command = defineCommand({
  name: "doctor",
  summary: "say what this machine can do, and what to install for the rest",
  usage: ["doctor [--json]", "doctor --runtime RUNTIME [--json]"],
  description:
    "Tiers and zone A are tried by running /bin/true in each, not guessed. Exit code 0: runs and tools work here; 3: they do not.\n" +
    "With --json: {tiers, runtimes, checks}; with --runtime: {runtime, program, binds, path, missing}.",
  examples: [
    { command: "agentkube doctor", does: "a table, with what to do for what is missing" },
    {
      command: "agentkube doctor --runtime ClaudeCode",
      does: "the files of the CLI that an agent would see",
    },
  ],
  options,
  run: async (context) => {
    if (context.values.runtime !== undefined) return showTree(context, context.values.runtime);
    const { output, env, cwd, values } = context;
    setSandboxSearchPath(env["PATH"] ?? "");
    const dataDir = resolveDataDir(values.data, env, cwd);
    // The probes come after the others: on a small machine they would fight for it.
    const checks = await machineChecks(env, dataDir);
    const runtimes = await findRuntimes(env);
    const tiers = await probeTiers();
    checks.push(...(await probeZone(cwd)));
    const result: DoctorResult = { tiers, runtimes, checks };
    if (output.json) output.document(result);
    else show(result, output);
    return isAble(result) ? ExitCode.done : ExitCode.refused;
  },
});

/** Tools need the standard tier, agents need zone A; a runtime may be Custom, so none is needed. */
function isAble({ tiers, checks }: DoctorResult): boolean {
  const standard = tiers.some(({ tier, available }) => tier === "standard" && available);
  return standard && checks.every(({ ok }) => ok !== false);
}

function show(result: DoctorResult, output: Output): void {
  const rows: Check[] = [
    ...result.tiers.map(({ tier, available, error, fix }) => ({
      name: `tier ${tier}`,
      ok: available ? true : tier === "standard" ? false : null,
      found: error ?? "/bin/true ran in it",
      fix,
    })),
    ...result.checks,
    ...result.runtimes.map(({ runtime, found, version }) => ({
      name: runtime,
      ok: found === null ? null : version !== null,
      found: found === null ? "not on PATH" : `${version ?? "says no version"} (${found})`,
      fix: found === null ? `install: ${programOf(runtime)?.install ?? ""}` : null,
    })),
  ];
  const mark = (ok: boolean | null): string => {
    if (ok === null) return output.paint("dim", "–");
    return ok ? output.paint("green", "✓") : output.paint("red", "✗");
  };
  const lines = rows.map(({ name, ok, found }) => [mark(ok), name, oneLine(found)]);
  for (const line of humanTable(["", "WHAT", "FOUND"], lines)) output.line(line);
  const fixes = rows.filter(({ fix }) => fix !== null);
  if (fixes.length > 0) output.line("");
  for (const { name, ok, fix } of fixes)
    output.line(`${output.paint(ok === false ? "red" : "dim", name)}: ${fix ?? ""}`);
  output.line("");
  output.line(
    isAble(result)
      ? output.paint("green", "Agents and tools can run here")
      : output.paint("red", "This machine lacks something that runs need; see above"),
  );
}

function showTree({ output, env, cwd }: Context, word: string): number {
  const known = Object.keys(knownRuntimes);
  const runtime = known.find(
    (name) => name.toLowerCase() === word.toLowerCase() || programOf(name)?.program === word,
  );
  if (runtime === undefined) {
    if (word.toLowerCase() === "custom")
      throw new UsageError(
        "Custom has no program to look for: an Agent of it names its own in spec.command",
        `doctor --runtime is for ${known.join(", ")}`,
      );
    const near = nearest(word, known);
    throw new UsageError(
      `Unknown runtime "${word}"`,
      `${near === undefined ? "" : `did you mean ${near}? `}expected one of ${known.join(", ")}`,
    );
  }
  const { program, install } = programOf(runtime) ?? { program: runtime, install: "" };
  const path = env["PATH"] ?? "";
  const found = findProgram(program, path, cwd);
  if (found === null)
    throw new PlatformError("runtime_missing", `Cannot find "${program}" of ${runtime} on PATH`, {
      fix: install,
    });
  const tree = runtimeTreeOf(found, {
    path,
    neverWhole: neverWhole(env, env["HOME"] ?? homedir()),
  });
  if (output.json) {
    output.document({ runtime, ...tree });
    return ExitCode.done;
  }
  output.line(
    `${runtime} is ${found.found}${found.real === found.found ? "" : ` → ${found.real}`}`,
  );
  output.line(`Runs in zone A as ${tree.program}`);
  output.line("Zone A sees of it, besides /usr read-only and a minimal /etc:");
  if (tree.binds.length === 0) output.line("  nothing more");
  for (const { source, target, mode } of tree.binds)
    output.line(`  ${mode}  ${target}${source === target ? "" : ` (from ${source})`}`);
  if (tree.path.length > 0) output.line(`PATH gets ${tree.path.join(":")}`);
  for (const name of tree.missing) output.line(`Missing: interpreter "${name}"`);
  return tree.missing.length === 0 ? ExitCode.done : ExitCode.refused;
}

function programOf(runtime: string): RuntimeFacts | undefined {
  return Object.entries(knownRuntimes).find(([name]) => name === runtime)?.[1];
}
