import { readFileSync, realpathSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { isMap, isNode, isScalar, LineCounter, parseAllDocuments, type Document } from "yaml";
import type * as z from "zod";
import { errnoOf, messageOf, PlatformError } from "../../kit/platform-error.ts";
import { Agent } from "../../protocol/agent-manifest.ts";
import { API_VERSION, ConfigMap, Secret } from "../../protocol/manifest.ts";
import { Tool } from "../../protocol/tool-manifest.ts";
import { nearest } from "../suggest.ts";
import { knownFields } from "./known-fields.ts";
import { yamlFault } from "./yaml-faults.ts";

/** The kinds a manifest file may hold. Parsed by kind, so that an error names the field of that kind. */
const manifestSchemas = { Agent, Tool, Secret, ConfigMap } as const;

/** A goal may hold 5 MiB; nothing sensible is larger than this. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

/** Where a document stands. */
export interface Place {
  /** as the person wrote it, for messages; `-` is standard input */
  readonly file: string;
  /** the directory that paths in it are relative to */
  readonly baseDir: string;
  readonly line: number;
  /** the image archive that the document came in, when it came in one */
  readonly archive?: string;
}
export type ManifestDocument =
  | { readonly kind: "Agent"; readonly value: Agent; readonly place: Place }
  | { readonly kind: "Tool"; readonly value: Tool; readonly place: Place }
  | { readonly kind: "Secret"; readonly value: Secret; readonly place: Place }
  | { readonly kind: "ConfigMap"; readonly value: ConfigMap; readonly place: Place };

/** What was read: documents that are right, and one sentence for each thing that is not. */
export interface ReadResult {
  readonly documents: ManifestDocument[];
  readonly problems: string[];
}

/** Reads a manifest file. Throws `invalid_manifest` when it cannot be read at all. */
export function readManifestFile(file: string, cwd: string): ReadResult & { realPath: string } {
  const path = resolve(cwd, file);
  try {
    const { size } = statSync(path);
    if (size > MAX_FILE_BYTES)
      throw new PlatformError(
        "invalid_manifest",
        `Cannot read manifest "${file}": expected at most ${MAX_FILE_BYTES} bytes, got ${size}`,
        { path },
      );
    const realPath = realpathSync(path);
    return { ...parseManifest(readFileSync(path, "utf8"), file, dirname(realPath)), realPath };
  } catch (error) {
    if (error instanceof PlatformError) throw error;
    throw new PlatformError(
      "invalid_manifest",
      `Cannot read manifest "${file}": ${errnoOf(error) ?? messageOf(error)}`,
      { path, fix: "give the path of a YAML file with an Agent", cause: error },
    );
  }
}

/** Parses the documents of a manifest text, each by its kind. Never throws for what the text says. */
export function parseManifest(text: string, file: string, baseDir: string): ReadResult {
  const counter = new LineCounter();
  // Pretty errors quote the source, and the source may hold secrets.
  const parsed = parseAllDocuments(text, { lineCounter: counter, prettyErrors: false });
  const documents: ManifestDocument[] = [];
  const problems: string[] = [];
  if (!Array.isArray(parsed))
    return { documents, problems: [`${file}: expected documents, got an empty file`] };
  let number = 0;
  for (const document of parsed) {
    number += 1;
    if (document.errors.length === 0 && document.contents === null) continue;
    const where = (offset: number | undefined): number =>
      offset === undefined ? 1 : counter.linePos(offset).line;
    const start = where(isNode(document.contents) ? document.contents.range?.[0] : undefined);
    const label = (line: number, kind: string): string =>
      `${file}:${line} (document ${number}${kind === "" ? "" : `, ${kind}`})`;
    if (document.errors.length > 0) {
      // What follows in the same line follows from the first.
      const lines = Map.groupBy(document.errors, (error) => where(error.pos[0]));
      for (const [line, [first]] of lines)
        if (first !== undefined) problems.push(`${label(line, "")}: ${yamlFault(first)}`);
      continue;
    }
    let value: unknown;
    try {
      value = document.toJS({ maxAliasCount: 100 });
    } catch (error) {
      problems.push(`${label(start, "")}: not YAML: ${messageOf(error)}`);
      continue;
    }
    const kind = kindOf(value);
    if (kind.problem !== undefined) {
      problems.push(`${label(start, kind.name)}: ${kind.problem}`);
      continue;
    }
    const schema: z.ZodType = manifestSchemas[kind.name];
    const result = schema.safeParse(value);
    if (!result.success) {
      for (const issue of flatten(result.error.issues))
        problems.push(
          ...explain(issue, document, value, kind.name).map(
            ({ offset, text: said }) =>
              `${label(offset === undefined ? start : where(offset), kind.name)}: ${said}`,
          ),
        );
      continue;
    }
    // The kind chose the schema, so the value has that kind's type.
    documents.push({
      kind: kind.name,
      value: result.data,
      place: { file, baseDir, line: start },
    } as ManifestDocument);
  }
  return { documents, problems };
}

type Kind = keyof typeof manifestSchemas;
const API_VERSIONS: Record<Kind, string> = {
  Agent: API_VERSION,
  Tool: API_VERSION,
  Secret: "v1",
  ConfigMap: "v1",
};

function kindOf(
  value: unknown,
): { name: Kind; problem?: undefined } | { name: string; problem: string } {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return { name: "", problem: "expected a mapping with apiVersion and kind" };
  const kind = "kind" in value ? value.kind : undefined;
  const version = "apiVersion" in value ? value.apiVersion : undefined;
  const kinds = Object.keys(manifestSchemas);
  if (typeof kind !== "string")
    return { name: "", problem: `kind: expected one of ${kinds.join(", ")}, got ${shown(kind)}` };
  if (!isKind(kind)) {
    return {
      name: kind.slice(0, 60),
      problem: `kind: unknown kind ${shown(kind)}; expected one of ${kinds.join(", ")}${suggested(kind, kinds)}`,
    };
  }
  if (version !== API_VERSIONS[kind])
    return {
      name: kind,
      problem: `apiVersion: unknown apiVersion ${shown(version)}; expected ${API_VERSIONS[kind]}`,
    };
  return { name: kind };
}

function isKind(kind: string): kind is Kind {
  return Object.hasOwn(manifestSchemas, kind);
}

type Issue = z.core.$ZodIssue;

/** A union's own issue says little; the branch that came furthest says what is wrong. */
function flatten(issues: readonly Issue[]): Issue[] {
  return issues.flatMap((issue) => {
    if (issue.code !== "invalid_union" || issue.errors.length === 0) return [issue];
    const ranked = issue.errors.toSorted((left, right) => depth(right) - depth(left));
    const best = ranked[0] ?? [];
    if (depth(best) === 0) return [issue];
    return flatten(best.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] })));
  });
}

function depth(issues: readonly Issue[]): number {
  return Math.max(0, ...issues.map((issue) => issue.path.length));
}

function explain(
  issue: Issue,
  document: Document,
  value: unknown,
  kind: Kind,
): { offset: number | undefined; text: string }[] {
  const field = fieldOf(issue.path);
  if (issue.code === "unrecognized_keys") {
    const known = knownFields(manifestSchemas[kind], issue.path);
    return issue.keys.map((key) => ({
      offset: keyOffset(document, issue.path, key),
      text: `${fieldOf([...issue.path, key])}: unknown field${suggested(key, known)}`,
    }));
  }
  const got = valueAt(value, issue.path);
  const branches =
    issue.code === "invalid_union" ? knownFields(manifestSchemas[kind], issue.path) : [];
  const said =
    branches.length > 0 ? `expected a mapping with ${branches.join(" or ")}` : issue.message;
  const message = said
    .replace(/^Invalid (?:input|option): /, "")
    .replace(/, received .*$/, "")
    .replace("expected array", "expected a list")
    .replace("expected object", "expected a mapping");
  const sentence = message.charAt(0).toLowerCase() + message.slice(1);
  const tells = issue.code === "invalid_type" || issue.code === "invalid_union";
  const isOpen = kind !== "Secret" && kind !== "ConfigMap" && !issue.path.includes("env");
  const suffix = tells
    ? `, got ${got === undefined ? "nothing" : typeName(got)}`
    : isOpen && isScalarValue(got)
      ? `, got ${shown(got)}`
      : "";
  const near =
    issue.code === "invalid_value" && typeof got === "string" && isOpen
      ? suggested(got, issue.values.map(String))
      : "";
  return [
    { offset: nodeOffset(document, issue.path), text: `${field}: ${sentence}${suffix}${near}` },
  ];
}

function suggested(word: string, known: readonly string[]): string {
  const near = nearest(word, known);
  return near === undefined ? "" : `; did you mean ${near}?`;
}

/** `spec.tools[0].name`. */
function fieldOf(path: readonly PropertyKey[]): string {
  if (path.length === 0) return "(document)";
  return path
    .map((step, index) =>
      typeof step === "number" ? `[${step}]` : `${index === 0 ? "" : "."}${String(step)}`,
    )
    .join("");
}

function nodeOffset(document: Document, path: readonly PropertyKey[]): number | undefined {
  for (let length = path.length; length >= 0; length -= 1) {
    const node: unknown =
      length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range != null) return node.range[0];
  }
  return undefined;
}

function keyOffset(
  document: Document,
  path: readonly PropertyKey[],
  key: string,
): number | undefined {
  const parent: unknown = path.length === 0 ? document.contents : document.getIn(path, true);
  if (!isMap(parent)) return nodeOffset(document, path);
  const found = parent.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === key);
  return isNode(found?.key) ? found.key.range?.[0] : nodeOffset(document, path);
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let at = value;
  for (const step of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, step)) return undefined;
    at = (at as Record<PropertyKey, unknown>)[step];
  }
  return at;
}

function isScalarValue(value: unknown): boolean {
  return ["string", "number", "boolean"].includes(typeof value);
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "a mapping" : `a ${typeof value}`;
}

function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value) ?? typeof value;
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
