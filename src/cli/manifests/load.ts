import { messageOf, PlatformError } from "../../kit/platform-error.ts";
import type { Agent } from "../../protocol/agent-manifest.ts";
import type { ConfigMap, Secret } from "../../protocol/manifest.ts";
import type { Tool } from "../../protocol/tool-manifest.ts";
import { nearest } from "../suggest.ts";
import { invalidManifest } from "./problems.ts";
import { synthesise, withWords } from "./from-words.ts";
import { parseManifest, readManifestFile, type ManifestDocument, type Place } from "./documents.ts";

/** What `run` was told, before anything is read. */
export interface ManifestWords {
  readonly files: readonly string[];
  /** the text of standard input, for the file named `-` */
  readonly stdin: string | null;
  readonly runtime: string | null;
  readonly goal: string | null;
  readonly modelEndpoint: string | null;
  /** NAME/KEY of the secrets that the command line gives */
  readonly givenSecrets: readonly string[];
  /** an Agent with `paused: true` is read like any other: nothing is run */
  readonly pausedToo?: boolean;
}

export interface Placed<T> {
  readonly value: T;
  readonly place: Place;
}

/** One Agent and everything it refers to, checked against each other. Secret values are not looked at. */
export interface LoadedManifests {
  readonly agent: Agent;
  readonly goal: string | null;
  /** in the Agent's order */
  readonly tools: readonly Placed<Tool>[];
  readonly secrets: readonly Placed<Secret>[];
  /** real paths of the files read */
  readonly files: readonly string[];
  /** those of them that hold a Secret document, used or not */
  readonly secretFiles: readonly string[];
  readonly warnings: readonly string[];
}

/** Reads and checks all manifests of a run. Throws `invalid_manifest` that lists every problem, or a refusal. */
export function loadManifests(words: ManifestWords, cwd: string): LoadedManifests {
  const documents: ManifestDocument[] = [];
  const problems: string[] = [];
  const files: string[] = [];
  const secretFiles: string[] = [];
  let unreadable: unknown;
  for (const file of words.files) {
    try {
      if (file === "-") {
        const read = parseManifest(words.stdin ?? "", "-", cwd);
        documents.push(...read.documents);
        problems.push(...read.problems);
        continue;
      }
      const read = readManifestFile(file, cwd);
      files.push(read.realPath);
      if (read.documents.some((document) => document.kind === "Secret"))
        secretFiles.push(read.realPath);
      documents.push(...read.documents);
      problems.push(...read.problems);
    } catch (error) {
      unreadable ??= error;
      problems.push(messageOf(error));
    }
  }
  if (unreadable !== undefined && problems.length === 1) throw unreadable;
  problems.push(...duplicates(documents));

  const agents = documents.filter((document) => document.kind === "Agent");
  const allTools = documents.filter((document) => document.kind === "Tool");
  const chosen = chooseAgent(words, agents, allTools, problems);
  if (chosen === null) throw invalid(words, problems);
  const agent = withWords(chosen.value, words);
  const namespace = agent.metadata.namespace;
  const agrees = (document: ManifestDocument): boolean =>
    namespace === undefined ||
    document.value.metadata.namespace === undefined ||
    document.value.metadata.namespace === namespace;
  const used = new Set<ManifestDocument>();
  const find = <K extends ManifestDocument["kind"]>(
    kind: K,
    name: string,
    from: string,
  ): Extract<ManifestDocument, { kind: K }> | undefined => {
    const named = documents.filter(
      (document): document is Extract<ManifestDocument, { kind: K }> =>
        document.kind === kind && document.value.metadata.name === name,
    );
    const found = named.find(agrees);
    if (found !== undefined) {
      used.add(found);
      return found;
    }
    const other = named[0];
    if (other !== undefined)
      problems.push(
        `${from}: ${kind} "${name}" is in namespace "${other.value.metadata.namespace ?? ""}", the Agent in "${namespace ?? ""}"; they must agree`,
      );
    return undefined;
  };

  const at = `${chosen.place.file}:${chosen.place.line} (Agent "${agent.metadata.name}")`;
  const hasRefused = problems.length > 0;
  const tools: Placed<Tool>[] = [];
  for (const name of new Set(agent.spec.tools)) {
    const before = problems.length;
    const tool = find("Tool", name, `${at} spec.tools`);
    if (tool !== undefined) tools.push({ value: tool.value, place: tool.place });
    // A Tool that was refused may be the one: its problems stand above.
    else if (problems.length === before && !hasRefused) {
      const known = allTools.map((document) => document.value.metadata.name);
      const near = nearest(name, known);
      problems.push(
        `${at} spec.tools: unknown tool "${name}"; expected a Tool of that name in the files${near === undefined ? "" : `; did you mean "${near}"?`}`,
      );
    }
  }
  const goal = goalOf(
    agent,
    (name) => find("ConfigMap", name, `${at} spec.goal`)?.value,
    at,
    problems,
  );
  const secrets = findSecrets(agent, tools, words.givenSecrets, (name, from) =>
    find("Secret", name, from),
  );
  if (problems.length > 0) throw invalid(words, problems);
  if (words.pausedToo !== true) refusePaused(chosen.value, chosen.place);

  const warnings = documents
    .filter((document) => document.kind !== "Agent" && !used.has(document))
    .map(
      (document) =>
        `${document.place.file}:${document.place.line}: ${document.kind} "${document.value.metadata.name}" is not used by the Agent`,
    );
  return { agent, goal, tools, secrets, files, secretFiles, warnings };
}

function chooseAgent(
  words: ManifestWords,
  agents: readonly Extract<ManifestDocument, { kind: "Agent" }>[],
  tools: readonly Extract<ManifestDocument, { kind: "Tool" }>[],
  problems: string[],
): Placed<Agent> | null {
  const [first, second] = agents;
  if (first !== undefined && second !== undefined)
    problems.push(
      `expected exactly one Agent, got ${agents.length}: ${agents.map((agent) => `"${agent.value.metadata.name}" (${agent.place.file}:${agent.place.line})`).join(", ")}`,
    );
  if (first !== undefined) {
    if (words.runtime !== null)
      problems.push(
        `--runtime makes an Agent of its own, and ${first.place.file}:${first.place.line} holds Agent "${first.value.metadata.name}"; leave one of them out`,
      );
    return first;
  }
  if (words.runtime !== null) {
    const agent = synthesise(
      words.runtime,
      tools.map((tool) => tool.value.metadata.name),
      problems,
    );
    return agent === null
      ? null
      : { value: agent, place: { file: "--runtime", baseDir: ".", line: 1 } };
  }
  if (problems.length === 0)
    problems.push(
      words.files.length === 0
        ? "expected a manifest file, or --runtime with --goal"
        : `expected exactly one Agent in ${words.files.join(", ")}, got none`,
    );
  return null;
}

function goalOf(
  agent: Agent,
  configMap: (name: string) => ConfigMap | undefined,
  at: string,
  problems: string[],
): string | null {
  const { goal } = agent.spec;
  if (goal === undefined) return null;
  if ("inline" in goal) return goal.inline;
  const { name, key } = goal.configMapKeyRef;
  const before = problems.length;
  const found = configMap(name);
  const text = found?.data?.[key];
  if (text !== undefined) return text;
  if (problems.length === before)
    problems.push(
      found === undefined
        ? `${at} spec.goal.configMapKeyRef: unknown ConfigMap "${name}"`
        : `${at} spec.goal.configMapKeyRef: ConfigMap "${name}" has no key "${key}"`,
    );
  return null;
}

/** The Secret documents that something refers to; a secret given by words needs no document. */
function findSecrets(
  agent: Agent,
  tools: readonly Placed<Tool>[],
  given: readonly string[],
  find: (name: string, from: string) => Extract<ManifestDocument, { kind: "Secret" }> | undefined,
): Placed<Secret>[] {
  const refs = [
    ...(agent.spec.agentToken === undefined ? [] : [agent.spec.agentToken.secretRef]),
    ...tools.flatMap((tool) =>
      (tool.value.spec.credentials ?? []).map((credential) => credential.secretRef),
    ),
  ].filter((ref) => !given.includes(`${ref.name}/${ref.key}`));
  return [...new Set(refs.map((ref) => ref.name))].flatMap((name) => {
    const found = find(name, `secretRef "${name}"`);
    return found === undefined ? [] : [{ value: found.value, place: found.place }];
  });
}

function duplicates(documents: readonly ManifestDocument[]): string[] {
  const seen = new Map<string, ManifestDocument>();
  return documents.flatMap((document) => {
    const { name, namespace } = document.value.metadata;
    const key = `${document.kind}/${namespace ?? ""}/${name}`;
    const before = seen.get(key);
    seen.set(key, document);
    if (before === undefined || document.kind === "Agent") return [];
    return [
      `${document.place.file}:${document.place.line}: ${document.kind} "${name}" is declared twice, first at ${before.place.file}:${before.place.line}`,
    ];
  });
}

function refusePaused(agent: Agent, place: Place): void {
  if (agent.spec.paused !== true) return;
  throw new PlatformError(
    "invalid_manifest",
    `Cannot run Agent "${agent.metadata.name}": spec.paused is true (${place.file}:${place.line})`,
    { fix: "set spec.paused to false, or remove it" },
  );
}

function invalid(words: ManifestWords, problems: readonly string[]): PlatformError {
  const isWords = words.files.length === 0;
  const head = isWords ? "Cannot run" : "Cannot use the manifest";
  const fix = isWords
    ? "see agentkube run --help"
    : "correct the fields named above; agentkube schema Agent and agentkube schema Tool print what is allowed";
  return invalidManifest(head, problems, fix);
}
