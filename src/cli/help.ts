import type { Command, CommandOption } from "./command.ts";
import type { CommandEntry } from "./commands.ts";

const MAX_COLUMNS = 120;

/** The help of the whole program. */
export function programHelp(commands: readonly CommandEntry[]): string {
  const shown = commands.filter((entry) => entry.hidden !== true);
  const groups = [...new Set(shown.map((entry) => entry.group))];
  const lines = [
    "Runs coding agents: any agent CLI unmodified, tools with secrets the agent never sees, every byte on record.",
    "",
    "Usage: agentkube VERB [options]",
  ];
  for (const group of groups) {
    lines.push("", `${group}:`);
    for (const entry of shown.filter((candidate) => candidate.group === group))
      lines.push(`  ${entry.name.padEnd(18)}${entry.summary}`);
  }
  lines.push(
    "",
    "Example:",
    "  agentkube run agent.yaml tool.yaml --secret github-token/token=@token.txt",
    "",
    "Options: --help, --version, --json. Help of a verb: agentkube VERB --help",
    "Exit codes: 0 done, 1 failed, 2 usage or invalid manifest, 3 refused by policy or missing capability.",
  );
  return lines.join("\n");
}

/** The help of one verb, with its examples. */
export function commandHelp(command: Command): string {
  const lines = [`${capital(command.summary)}.`, ""];
  command.usage.forEach((usage, index) =>
    lines.push(`${index === 0 ? "Usage:" : "      "} agentkube ${usage}`),
  );
  if (command.description !== undefined)
    lines.push("", ...command.description.split("\n").flatMap(wrapped));
  const options = { ...command.options, ...commonOptions };
  lines.push("", "Options:");
  const names = Object.entries(options).map(([name, option]) => spelling(name, option));
  const width = Math.min(34, Math.max(...names.map((name) => name.length)) + 2);
  for (const [name, option] of Object.entries(options)) {
    const left = spelling(name, option);
    if (left.length < width) lines.push(`  ${left.padEnd(width)}${option.help}`);
    else lines.push(`  ${left}`, `  ${"".padEnd(width)}${option.help}`);
  }
  lines.push("", command.examples.length === 1 ? "Example:" : "Examples:");
  for (const example of command.examples)
    lines.push(`  ${example.command}`, `      ${example.does}`);
  return lines.join("\n");
}

/** The line in lines that a terminal of usual width shows whole. */
function wrapped(line: string): string[] {
  const lines = [""];
  for (const word of line.split(" ")) {
    const last = lines.at(-1) ?? "";
    if (last === "") lines[lines.length - 1] = word;
    else if (last.length + 1 + word.length <= MAX_COLUMNS)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** Options that every verb has. */
export const commonOptions = {
  json: { type: "boolean", help: "print one JSON document as the last line, for programs" },
  help: { type: "boolean", short: "h", help: "show this help" },
} as const satisfies Record<string, CommandOption>;

function spelling(name: string, option: CommandOption): string {
  const short = option.short === undefined ? "" : `-${option.short}, `;
  const value = option.type === "string" ? ` ${option.value ?? "VALUE"}` : "";
  return `${short}--${name}${value}`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
