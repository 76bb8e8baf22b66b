import { readFileSync } from "node:fs";
import { isatty } from "node:tty";
import { fileURLToPath } from "node:url";
import { ExitCode } from "../protocol/outcome.ts";
import { commands } from "./commands.ts";
import { commandHelp, programHelp } from "./help.ts";
import { createOutput, UsageError, type Output } from "./output.ts";
import { parseWords } from "./parse-words.ts";
import { nearest } from "./suggest.ts";

/** Runs one command line to its exit code. The only place of the CLI that touches the process. */
async function main(argv: readonly string[]): Promise<number> {
  const [verb, ...words] = argv;
  if (verb === undefined || verb === "help" || verb === "--help" || verb === "-h") {
    const asked = verb === "help" ? words[0] : undefined;
    if (asked !== undefined) return await runVerb(asked, ["--help"]);
    const target = verb === undefined ? process.stderr : process.stdout;
    target.write(`${programHelp(commands)}\n`);
    return verb === undefined ? 2 : 0;
  }
  if (verb === "--version" || verb === "-V") {
    const output = openOutput(words.includes("--json"));
    if (output.json) output.document({ version: version() });
    else output.line(version());
    return 0;
  }
  return await runVerb(verb, words);
}

async function runVerb(verb: string, words: readonly string[]): Promise<number> {
  const output = openOutput(words.includes("--json"));
  const entry = commands.find((candidate) => candidate.name === verb);
  if (entry === undefined) return output.fail(unknownVerb(verb));
  try {
    const command = await entry.load();
    const parsed = parseWords(command, words);
    if (parsed.help) {
      output.line(commandHelp(command));
      return 0;
    }
    return await command.run({
      values: parsed.values,
      positionals: parsed.positionals,
      args: words,
      output: parsed.json === output.json ? output : openOutput(parsed.json),
      env: process.env,
      cwd: process.cwd(),
      stdin: process.stdin,
      self: [process.execPath, fileURLToPath(new URL("../../bin/agentkube.js", import.meta.url))],
      onSignal,
      onOutputError: (listener) => {
        outputErrors.listener = listener;
      },
    });
  } catch (error) {
    return output.fail(error);
  }
}

function unknownVerb(verb: string): UsageError {
  const known = commands.filter((entry) => entry.hidden !== true).map((entry) => entry.name);
  const near = nearest(verb, known);
  const help = "see agentkube --help";
  return new UsageError(
    verb.startsWith("-") ? `Unknown option ${verb} of agentkube` : `Unknown verb "${verb}"`,
    near === undefined ? help : `did you mean agentkube ${near}? ${help}`,
  );
}

function openOutput(json: boolean): Output {
  return createOutput({
    stdout: process.stdout,
    stderr: process.stderr,
    json,
    color: isatty(1) && (process.env["NO_COLOR"] ?? "") === "" && process.env["TERM"] !== "dumb",
    interactive: isatty(0) && isatty(1),
  });
}

function onSignal(listener: (signal: NodeJS.Signals) => void): () => void {
  const names: NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const name of names) process.on(name, listener);
  return () => {
    for (const name of names) process.off(name, listener);
  };
}

/** What a failed write to standard output does. A reader that left early (`| head`) is no failure of ours. */
const outputErrors = {
  listener: (error: NodeJS.ErrnoException): void => {
    if (error.code === "EPIPE") process.exit(0);
    process.stderr.write(`agentkube: Cannot write the output: ${error.code ?? error.message}\n`);
    process.exit(ExitCode.failed);
  },
};

/** A pipe takes 64 KiB at a time: what still waits for its reader would be lost with the process. */
async function written(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength > 0 && stream.writable)
    await new Promise<void>((resolve) => stream.write("", () => resolve()));
}

function version(): string {
  const path = new URL("../../package.json", import.meta.url);
  const parsed: unknown = JSON.parse(readFileSync(path, "utf8"));
  return typeof parsed === "object" && parsed !== null && "version" in parsed
    ? String(parsed.version)
    : "unknown";
}

process.stdout.on("error", (error: NodeJS.ErrnoException) => outputErrors.listener(error));
// Notes that nobody can read must not end what they are about.
process.stderr.on("error", () => undefined);

void main(process.argv.slice(2)).then(async (code) => {
  await written(process.stdout);
  await written(process.stderr);
  process.exit(code);
});
