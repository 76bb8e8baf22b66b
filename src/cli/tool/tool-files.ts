import { closeSync, openSync, readdirSync, readSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { refuseProblems } from "../manifests/problems.ts";
import { errnoOf, messageOf, PlatformError } from "../../kit/platform-error.ts";
import type { Secret } from "../../protocol/manifest.ts";
import type { Tool } from "../../protocol/tool-manifest.ts";
import { inspectArchive } from "../../tool-runner/oci-archive.ts";
import { parseManifest, readManifestFile } from "../manifests/documents.ts";
import type { Placed } from "../manifests/load.ts";
import { UsageError } from "../output.ts";
import { nearest } from "../suggest.ts";

/** Manifests that a person named, with the tools and secrets in them. */
export interface ToolFiles {
  readonly tools: readonly Placed<Tool>[];
  readonly secrets: readonly Placed<Secret>[];
  /** real paths of the files that hold a Secret */
  readonly secretFiles: readonly string[];
  /** one sentence for each thing in the files that is not right */
  readonly problems: readonly string[];
}

const NAMES = ["tool.yaml", "tool.yml", "tool.json"];

/**
 * Reads the manifests of a file, or of a directory: its `tool.yaml`, else every YAML file in it. An OCI archive that
 * `agentkube tool pack` made is a Tool by itself.
 */
export async function readToolFiles(word: string, cwd: string): Promise<ToolFiles> {
  if (isArchive(resolve(cwd, word))) return readArchive(word, cwd);
  const tools: Placed<Tool>[] = [];
  const secrets: Placed<Secret>[] = [];
  const secretFiles: string[] = [];
  const problems: string[] = [];
  for (const file of manifestsOf(word, cwd)) {
    const read = readManifestFile(file, cwd);
    problems.push(...read.problems);
    for (const { kind, value, place } of read.documents) {
      if (kind === "Tool") tools.push({ value, place });
      if (kind === "Secret") {
        secrets.push({ value, place });
        secretFiles.push(read.realPath);
      }
    }
  }
  return { tools, secrets, secretFiles, problems };
}

/** A tar archive, by the magic of its first header. */
function isArchive(path: string): boolean {
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return false;
  const file = openSync(path, "r");
  try {
    const head = Buffer.alloc(512);
    return readSync(file, head, 0, 512, 0) === 512 && head.toString("latin1", 257, 262) === "ustar";
  } finally {
    closeSync(file);
  }
}

async function readArchive(word: string, cwd: string): Promise<ToolFiles> {
  const archive = realpathSync(resolve(cwd, word));
  const { tool } = await inspectArchive(archive);
  if (tool === null)
    throw new PlatformError("invalid_manifest", `Image "${word}" does not say which Tool it is`, {
      path: archive,
      fix: `write a manifest with kind: Tool and spec.package: ./${basename(archive)}`,
    });
  const read = parseManifest(tool, word, dirname(archive));
  const tools = read.documents.flatMap(({ kind, value, place }) =>
    kind === "Tool" ? [{ value, place: { ...place, archive } }] : [],
  );
  return { tools, secrets: [], secretFiles: [], problems: read.problems };
}

/** The one Tool of the files, or the one that is named. Throws when the manifests are wrong or leave it open. */
export function chooseTool(files: ToolFiles, word: string, name: string | undefined): Placed<Tool> {
  refuseProblems(files.problems);
  const names = files.tools.map((tool) => tool.value.metadata.name);
  if (name !== undefined) {
    const found = files.tools.find((tool) => tool.value.metadata.name === name);
    if (found !== undefined) return found;
    const near = nearest(name, names);
    throw new UsageError(
      `No Tool "${name}" in "${word}"; there are ${names.join(", ") || "none"}`,
      near === undefined ? undefined : `did you mean --tool ${near}?`,
    );
  }
  const [only, second] = files.tools;
  if (only === undefined)
    throw new PlatformError("invalid_manifest", `Expected a Tool in "${word}", got none`, {
      fix: "name a manifest with kind: Tool, or the directory of one",
    });
  if (second !== undefined)
    throw new UsageError(
      `"${word}" holds ${names.length} Tools: ${names.join(", ")}`,
      "choose one with --tool NAME",
    );
  return only;
}

function manifestsOf(word: string, cwd: string): string[] {
  const path = resolve(cwd, word);
  let names: string[];
  try {
    if (!statSync(path).isDirectory()) return [word];
    names = readdirSync(path).sort();
  } catch (error) {
    throw new UsageError(
      `Cannot read "${path}": ${errnoOf(error) ?? messageOf(error)}`,
      "name a Tool manifest, or the directory of one",
    );
  }
  const own = NAMES.filter((name) => names.includes(name));
  const chosen = own.length > 0 ? own : names.filter((name) => /\.ya?ml$/.test(name));
  if (chosen.length === 0)
    throw new UsageError(
      `No manifest in "${path}"`,
      "a directory of a tool holds a tool.yaml with kind: Tool",
    );
  return chosen.map((name) => join(path, name));
}
