import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { messageOf, PlatformError } from "../kit/platform-error.ts";
import { readSecretFile, runSecretCommand, SecretSourceError } from "../kit/secret-sources.ts";
import type { SecretSource } from "../protocol/secret-source.ts";
import type { Secret } from "../protocol/manifest.ts";
import type { Placed } from "./manifests/load.ts";

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
  /** where a value is read again at every use; the others stay what they are */
  readonly sources: ReadonlyMap<string, SecretSource>;
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

/** Throws `usage` for a word of a name that nothing uses: it is nearly always a misspelt one. */
export function refuseUnused(words: readonly SecretWord[], ids: readonly string[]): void {
  const used = [...new Set(ids)];
  const unused = words.filter((word) => !used.includes(word.id)).map((word) => word.id);
  if (unused.length === 0) return;
  throw new PlatformError(
    "usage",
    `--secret ${unused.join(", ")}: nothing uses ${unused.length === 1 ? "it" : "them"}`,
    {
      fix:
        used.length === 0
          ? "leave it out: no secret is used here"
          : `the secrets that are used: ${used.join(", ")}`,
    },
  );
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
  const sources = new Map(
    words.flatMap((word) => {
      const source = sourceOf(word, outside);
      return source === null ? [] : [[word.id, source] as const];
    }),
  );
  return { values, sources };
}

/** A file is kept by the path that was named: a link may be swapped to give a new value. */
function sourceOf(
  word: SecretWord,
  { env, cwd }: { env: Readonly<Record<string, string | undefined>>; cwd: string },
): SecretSource | null {
  if (word.from === "file") return { from: "file", path: resolve(cwd, word.source) };
  if (word.from === "env") return null;
  return { from: "exec", command: word.source, cwd, env: definedOf(env) };
}

function definedOf(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
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
    case "file": {
      const path = resolve(outside.cwd, word.source);
      try {
        return readSecretFile(path);
      } catch (error) {
        throw new PlatformError(
          "secret_missing",
          `Cannot read secret "${word.id}" from "${path}": ${messageOf(error)}`,
          { path, fix: "give the path of a file that you can read", cause: error },
        );
      }
    }
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
      try {
        const env = definedOf(outside.env);
        return await runSecretCommand({ command: word.source, cwd: outside.cwd, env }, signal);
      } catch (error) {
        if (!(error instanceof SecretSourceError)) throw error;
        throw new PlatformError(
          "secret_missing",
          `Cannot get secret "${word.id}" from its command: ${messageOf(error)}`,
          { fix: "run the command by itself; it must print the secret and end with 0" },
        );
      }
  }
}
