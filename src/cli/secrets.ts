import { spawn } from "node:child_process";
import { readFileSync, realpathSync } from "node:fs";
import { resolve } from "node:path";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import type { Secret } from "../protocol/manifest.ts";
import type { Placed } from "./manifests/load.ts";

const EXEC_LIMIT_MS = 30_000;
const MAX_SECRET_BYTES = 1024 * 1024;

/** `--secret NAME/KEY=@FILE`, `=env:VAR` or `=exec:COMMAND`. */
export interface SecretWord {
  /** NAME/KEY */
  readonly id: string;
  readonly from: "file" | "env" | "exec";
  readonly source: string;
}

/** A secret that something refers to. */
export interface SecretNeed {
  readonly id: string;
  /** for messages, such as `credential "github" of Tool "issues"` */
  readonly neededBy: string;
}

export interface ResolvedSecrets {
  readonly values: ReadonlyMap<string, Buffer>;
  readonly warnings: readonly string[];
}

/** Parses the values of `--secret`. Throws `usage` that never quotes what stands after the equals sign. */
export function parseSecretWords(words: readonly string[]): SecretWord[] {
  const parsed = words.map((word) => {
    const at = word.indexOf("=");
    const id = at === -1 ? "" : word.slice(0, at);
    if (!/^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\/[A-Za-z0-9._-]+$/.test(id))
      throw new PlatformError(
        "usage",
        id === ""
          ? "Option --secret expects NAME/KEY=@FILE, =env:VAR or =exec:COMMAND"
          : `Option --secret expects NAME/KEY before the equals sign, got "${id.slice(0, 80)}"`,
        { fix: "write for example --secret github-token/token=@token.txt" },
      );
    const rest = word.slice(at + 1);
    if (rest.startsWith("@") && rest.length > 1)
      return { id, from: "file", source: rest.slice(1) } as const;
    if (rest.startsWith("env:") && rest.length > 4)
      return { id, from: "env", source: rest.slice(4) } as const;
    if (rest.startsWith("exec:") && rest.length > 5)
      return { id, from: "exec", source: rest.slice(5) } as const;
    throw new PlatformError(
      "usage",
      `Option --secret ${id}=… expects @FILE, env:VAR or exec:COMMAND after the equals sign; a value itself is not taken, since others could read it from the process list`,
      { fix: `write for example --secret ${id}=@FILE` },
    );
  });
  for (const [index, { id }] of parsed.entries())
    if (parsed.findIndex((other) => other.id === id) !== index)
      throw new PlatformError("usage", `Option --secret gives "${id}" twice`);
  return parsed;
}

/** The real paths of the files that words read; a file that is not there is left to `resolveSecrets`. */
export function secretFilesOf(words: readonly SecretWord[], cwd: string): string[] {
  return words.flatMap((word) => {
    if (word.from !== "file") return [];
    try {
      return [realpathSync(resolve(cwd, word.source))];
    } catch {
      return [];
    }
  });
}

/** Gets every needed value. Throws `secret_missing` that names all missing ones and the ways to give them. */
export async function resolveSecrets(
  needs: readonly SecretNeed[],
  words: readonly SecretWord[],
  documents: readonly Placed<Secret>[],
  outside: { env: Readonly<Record<string, string | undefined>>; cwd: string },
  signal: AbortSignal,
): Promise<ResolvedSecrets> {
  const values = new Map<string, Buffer>();
  const missing: SecretNeed[] = [];
  for (const need of needs) {
    if (values.has(need.id)) continue;
    const word = words.find((candidate) => candidate.id === need.id);
    const value =
      word === undefined
        ? fromDocuments(need.id, documents)
        : await fromWord(word, outside, signal);
    if (value === null) {
      missing.push(need);
      continue;
    }
    if (value.length === 0)
      throw new PlatformError(
        "secret_missing",
        `Secret "${need.id}" is empty; ${need.neededBy} needs it`,
        {
          fix: `give a value with --secret ${need.id}=@FILE, =env:VAR or =exec:COMMAND`,
        },
      );
    values.set(need.id, value);
  }
  const first = missing[0];
  if (first !== undefined)
    throw new PlatformError(
      "secret_missing",
      missing.length === 1
        ? `Missing secret "${first.id}", needed by ${first.neededBy}`
        : `Missing ${missing.length} secrets: ${missing.map((need) => `"${need.id}" (${need.neededBy})`).join(", ")}`,
      {
        fix: `give it with --secret ${first.id}=@FILE, --secret ${first.id}=env:VAR or --secret ${first.id}=exec:COMMAND, or add a Secret document`,
      },
    );
  const needed = new Set(needs.map((need) => need.id));
  const warnings = words
    .filter((word) => !needed.has(word.id))
    .map((word) => `--secret ${word.id} is not used by the Agent or its tools`);
  return { values, warnings };
}

function fromDocuments(id: string, documents: readonly Placed<Secret>[]): Buffer | null {
  const [name, key] = splitId(id);
  for (const { value } of documents) {
    if (value.metadata.name !== name) continue;
    // As in Kubernetes, stringData wins over data.
    const text = own(value.stringData, key);
    if (text !== undefined) return Buffer.from(text);
    const encoded = own(value.data, key);
    if (encoded !== undefined) return Buffer.from(encoded, "base64");
  }
  return null;
}

function own(
  record: Readonly<Record<string, string>> | undefined,
  key: string,
): string | undefined {
  return record !== undefined && Object.hasOwn(record, key) ? record[key] : undefined;
}

function splitId(id: string): [string, string] {
  const at = id.indexOf("/");
  return [id.slice(0, at), id.slice(at + 1)];
}

async function fromWord(
  word: SecretWord,
  outside: { env: Readonly<Record<string, string | undefined>>; cwd: string },
  signal: AbortSignal,
): Promise<Buffer> {
  switch (word.from) {
    case "file":
      return withoutNewline(readSecretFile(word, outside.cwd));
    case "env": {
      const value = outside.env[word.source];
      if (value === undefined)
        throw new PlatformError(
          "secret_missing",
          `Cannot read secret "${word.id}": environment variable ${word.source} is not set`,
          { fix: `export ${word.source}, or give the secret another way` },
        );
      return Buffer.from(value);
    }
    case "exec":
      return withoutNewline(await fromCommand(word, outside, signal));
  }
}

function readSecretFile(word: SecretWord, cwd: string): Buffer {
  const path = resolve(cwd, word.source);
  try {
    const value = readFileSync(path);
    if (value.length > MAX_SECRET_BYTES) throw new Error(`larger than ${MAX_SECRET_BYTES} bytes`);
    return value;
  } catch (error) {
    throw new PlatformError(
      "secret_missing",
      `Cannot read secret "${word.id}" from "${path}": ${errnoOf(error) ?? messageOf(error)}`,
      { path, fix: "give the path of a file that you can read", cause: error },
    );
  }
}

/** Runs the command with a shell, at most 30 s. What it says on stderr may hold secrets and is not kept. */
async function fromCommand(
  word: SecretWord,
  outside: { env: Readonly<Record<string, string | undefined>>; cwd: string },
  signal: AbortSignal,
): Promise<Buffer> {
  const child = spawn("/bin/sh", ["-c", word.source], {
    cwd: outside.cwd,
    env: { ...outside.env },
    stdio: ["ignore", "pipe", "ignore"],
    detached: true,
  });
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const fail = (cause: string): void =>
    reject(
      new PlatformError(
        "secret_missing",
        `Cannot get secret "${word.id}" from its command: ${cause}`,
        {
          fix: "run the command by itself; it must print the secret and end with 0",
        },
      ),
    );
  const killGroup = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // The group is already gone.
    }
  };
  const timer = setTimeout(() => {
    fail(`it took longer than ${EXEC_LIMIT_MS / 1000} s`);
    killGroup();
  }, EXEC_LIMIT_MS);
  const onAbort = (): void => {
    reject(signal.reason);
    killGroup();
  };
  signal.addEventListener("abort", onAbort, { once: true });
  const chunks: Buffer[] = [];
  let size = 0;
  child.stdout.on("data", (chunk: Buffer) => {
    size += chunk.length;
    chunks.push(chunk);
    if (size <= MAX_SECRET_BYTES) return;
    fail(`it printed more than ${MAX_SECRET_BYTES} bytes`);
    killGroup();
  });
  child.once("error", (error) => fail(messageOf(error)));
  child.once("close", (code, killedBy) => {
    if (code === 0) resolve(Buffer.concat(chunks));
    else fail(code === null ? `it ended by ${killedBy ?? "a signal"}` : `it ended with ${code}`);
  });
  try {
    signal.throwIfAborted();
    return await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

/** Editors and `echo` end a file with a line break that is not part of a token. */
function withoutNewline(value: Buffer): Buffer {
  if (value.at(-1) !== 0x0a) return value;
  return value.subarray(0, value.at(-2) === 0x0d ? -2 : -1);
}
