// The command-line face of a tool, for agents without MCP. Runs in zone A as `/opt/agentkube/bin/TOOL` under the pinned Node;
// one file without dependencies, since nothing else of ours is there. Its exit code is the tool's own; 125 means that the call
// was refused or never reached the tool, 124 a timeout, 126/127 that the tool could not be started, 128+n a signal.
import { request } from "node:http";
import { mkdir, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { constants } from "node:os";

const REFUSED = 125;
const OUTCOME_CODES = {
  timed_out: 124,
  killed_by_limit: 137,
  cancelled: 130,
  start_failed: 126,
  lost: REFUSED,
  refused: REFUSED,
};

class Refusal extends Error {}

// `#!/opt/agentkube/node /opt/agentkube/shim.mjs` puts the path of the command behind our own.
const tool = basename(process.argv[2] ?? "tool");

async function main() {
  const words = process.argv.slice(3);
  const { operations, description } = await describe();
  const [name, ...rest] = words;
  if (name === undefined || name === "--help" || name === "-h") {
    process.stdout.write(helpOfTool(description, operations));
    return name === undefined ? REFUSED : 0;
  }
  const operation = operations.find((candidate) => candidate.name === name);
  if (operation === undefined) {
    const names = operations.map((candidate) => candidate.name).join(", ");
    throw new Refusal(`${tool} has no operation "${name}"; it has: ${names}`);
  }
  const { given, directory, wantsHelp } = await readOptions(operation, rest);
  if (wantsHelp) {
    process.stdout.write(helpOfOperation(operation));
    return 0;
  }
  const reply = await ask("POST", `/v1/tools/${tool}/${operation.name}`, {
    arguments: given,
  });
  await Promise.all([write(process.stdout, reply.stdout), write(process.stderr, reply.stderr)]);
  if (reply.detail !== undefined) {
    const fix = reply.detail.fix === undefined ? "" : `; ${reply.detail.fix}`;
    process.stderr.write(
      `${tool}: ${reply.outcome.replaceAll("_", " ")}: ${reply.detail.cause}${fix}\n`,
    );
  }
  await keepFiles(reply, directory);
  return exitCodeOf(reply);
}

/** One level at a time: the recursive mkdir never returns where the kernel says ENOENT for what cannot be made, as below /proc. */
async function makeDirectories(path) {
  if (path === dirname(path) || (await stat(path).catch(() => null))?.isDirectory()) return;
  await makeDirectories(dirname(path));
  await mkdir(path).catch((error) => {
    if (error.code !== "EEXIST") throw error;
  });
}

/** Says which files the tool gave, and writes them where it was asked to. Never over a file that is there. */
async function keepFiles({ files = [], omittedFiles = [] }, directory) {
  for (const { path, mediaType, bytes, base64 } of files) {
    let where = "";
    if (directory !== null) {
      if (path.split("/").some((part) => part === "" || part === "." || part === ".."))
        throw new Refusal(
          `the tool-runner sent a file with a path that is none: ${JSON.stringify(path)}`,
        );
      const target = join(directory, path);
      await makeDirectories(dirname(target));
      await writeFile(target, Buffer.from(base64, "base64"), { flag: "wx" });
      where = ` → ${JSON.stringify(target)}`;
    }
    process.stderr.write(`file: ${JSON.stringify(path)} (${mediaType}, ${bytes} bytes)${where}\n`);
  }
  for (const { path, why } of omittedFiles)
    process.stderr.write(`file left out: ${JSON.stringify(path)} (${why.replaceAll("_", " ")})\n`);
}

function exitCodeOf({ outcome, exitCode, signal }) {
  if (outcome === "completed") return exitCode ?? REFUSED;
  if (outcome === "signalled") return 128 + (constants.signals[signal] ?? 0);
  return OUTCOME_CODES[outcome] ?? REFUSED;
}

async function describe() {
  const { tools } = await ask("GET", "/v1/tools");
  const found = tools.find((candidate) => candidate.name === tool);
  if (found === undefined) throw new Refusal(`this run has no tool "${tool}"`);
  return found;
}

/** One request to the tool-runner. Ending this process cancels the call: the connection is its life line. */
function ask(method, path, body) {
  const { AGENTKUBE_GATEWAY: gateway, AGENTKUBE_AGENT_TOKEN: token } = process.env;
  if (!gateway || !token)
    throw new Refusal(
      "AGENTKUBE_GATEWAY and AGENTKUBE_AGENT_TOKEN are not set; this command works inside an agentkube run",
    );
  const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  const headers = { authorization: `Bearer ${token}` };
  if (payload !== undefined)
    Object.assign(headers, {
      "content-type": "application/json",
      "content-length": payload.length,
    });
  return new Promise((resolve, reject) => {
    const unreachable = (error) =>
      reject(new Refusal(`the tool-runner does not answer: ${error.message}`));
    const sent = request(new URL(path, gateway), { method, headers }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("error", unreachable);
      response.on("end", () => {
        let answer;
        try {
          answer = JSON.parse(Buffer.concat(chunks).toString("utf8"));
        } catch (error) {
          unreachable(error);
          return;
        }
        if (response.statusCode === 200) resolve(answer);
        else
          reject(
            new Refusal(answer.error?.message ?? `the tool-runner answered ${response.statusCode}`),
          );
      });
    });
    sent.on("error", unreachable);
    sent.end(payload);
  });
}

/**
 * `--name value`, `--name=value`, `--flag`, `--no-flag`, `--json '{…}'` (or `--json -` from standard input). Ours are `--help`, `-h`
 * and `--files-to DIR`, where an option may stand and the operation has none of that name: a value may be any text.
 */
async function readOptions(operation, words) {
  const properties = operation.inputSchema.properties ?? {};
  // Without a prototype, a key named __proto__ is a key like any other, and the tool-runner refuses it.
  const given = Object.create(null);
  let directory = null;
  for (let at = 0; at < words.length; at += 1) {
    const isHelp = words[at] === "--help" && !Object.hasOwn(properties, "help");
    if (isHelp || words[at] === "-h") return { given, directory, wantsHelp: true };
    const match = /^--([^=]+)(?:=(.*))?$/s.exec(words[at]);
    if (match === null)
      throw new Refusal(`expected an option such as --name value, got "${words[at]}"; see --help`);
    let [, name, value] = match;
    if (name === "json" && !Object.hasOwn(properties, "json")) {
      Object.assign(given, await readJson(value ?? words[(at += 1)]));
      continue;
    }
    if (name === "files-to" && !Object.hasOwn(properties, "files-to")) {
      directory = value ?? words[(at += 1)];
      if (!directory) throw new Refusal("--files-to needs a directory");
      continue;
    }
    const negated = name.startsWith("no-") && !Object.hasOwn(properties, name);
    if (negated) name = name.slice(3);
    if (!Object.hasOwn(properties, name))
      throw new Refusal(`${operation.name} has no option "--${name}"; see --help`);
    const types = [properties[name]?.type ?? "string"].flat();
    if (types.includes("boolean") && value === undefined) {
      const next = words[at + 1];
      if (!negated && (next === "true" || next === "false")) value = words[(at += 1)];
      else value = String(!negated);
    } else if (negated) throw new Refusal(`--no-${name}: only for options that are true or false`);
    if (value === undefined) {
      at += 1;
      if (at >= words.length) throw new Refusal(`--${name} needs a value`);
      value = words[at];
    }
    const converted = convert(name, value, types, properties[name]);
    given[name] =
      types.includes("array") && Array.isArray(given[name])
        ? [...given[name], ...converted]
        : converted;
  }
  return { given, directory, wantsHelp: false };
}

/** Text to the type that the schema names. What does not fit stays text, and the tool-runner says what it wants. */
function convert(name, text, types, schema) {
  if (types.includes("array")) {
    if (text.startsWith("[")) return parse(name, text);
    return [convert(name, text, [schema.items?.type ?? "string"].flat(), schema.items ?? {})];
  }
  if (types.includes("object") && text.startsWith("{")) return parse(name, text);
  if (types.includes("boolean") && (text === "true" || text === "false")) return text === "true";
  const isNumber = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(text);
  if ((types.includes("integer") || types.includes("number")) && isNumber) return Number(text);
  if (types.includes("null") && text === "null") return null;
  return text;
}

function parse(name, text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(`--${name}: expected JSON`);
  }
}

async function readJson(text) {
  if (text === undefined)
    throw new Refusal("--json needs a value: a JSON object, or - for standard input");
  let source = text;
  if (text === "-") {
    const chunks = [];
    for await (const chunk of process.stdin) chunks.push(chunk);
    source = Buffer.concat(chunks).toString("utf8");
  }
  const value = parse("json", source);
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Refusal("--json: expected a JSON object");
  return value;
}

function helpOfTool(description, operations) {
  const width = Math.max(...operations.map(({ name }) => name.length));
  const rows = operations.map(({ name, description }) =>
    `  ${name.padEnd(width)}  ${firstLine(description)}`.trimEnd(),
  );
  return `${[description, `Usage: ${tool} OPERATION [--name value …]`, `Operations:\n${rows.join("\n")}`, `See ${tool} OPERATION --help`].filter(Boolean).join("\n\n")}\n`;
}

function helpOfOperation({ name, description, inputSchema, files = [] }) {
  const required = new Set(inputSchema.required ?? []);
  const rows = Object.entries(inputSchema.properties ?? {}).map(([key, schema]) => {
    const values = Array.isArray(schema?.enum)
      ? schema.enum.join("|")
      : [schema?.type ?? "text"].flat().join("|");
    const note = [firstLine(schema?.description ?? ""), required.has(key) ? "(required)" : ""]
      .filter(Boolean)
      .join(" ");
    return `  --${key} <${values}>  ${note}`.trimEnd();
  });
  const options =
    rows.length === 0
      ? "It takes no arguments."
      : `Options:\n${rows.join("\n")}\n  --json <object>  all arguments as one JSON object, or - for standard input`;
  const given =
    files.length === 0
      ? ""
      : `Files it gives: ${files.join(", ")}\n  --files-to <dir>  write them there`;
  return `${[description, `Usage: ${tool} ${name} [--name value …]`, options, given].filter(Boolean).join("\n\n")}\n`;
}

function firstLine(text) {
  return text.split("\n", 1)[0];
}

/** Waits until the stream took it: `process.exit` would cut what is still queued for a pipe. */
function write(stream, text) {
  return new Promise((resolve) => {
    if (text === "") resolve();
    else stream.write(text, () => resolve());
  });
}

process.stdout.on("error", () => process.exit(141));
try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${tool}: ${error.message}\n`);
  process.exitCode = REFUSED;
}
