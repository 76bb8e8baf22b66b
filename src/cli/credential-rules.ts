import type { HttpCredential, Tool } from "../protocol/tool-manifest.ts";

/** Shorter values cannot be told from ordinary text when responses are searched for them. */
const MIN_SECRET_BYTES = 16;

/** Headers that frame or route a request; a credential in one of them would change where it goes or how it is read. */
const FRAMING_HEADERS = new Set([
  "host",
  "connection",
  "content-length",
  "content-type",
  "transfer-encoding",
  "te",
  "trailer",
  "upgrade",
  "expect",
  "keep-alive",
  "proxy-connection",
  "proxy-authorization",
]);

/** Checks a Tool's network and credential rules against each other: one sentence for each problem. */
export function ruleProblems(tool: Tool): string[] {
  const at = `Tool "${tool.metadata.name}"`;
  const network = tool.spec.sandbox?.network ?? [];
  const allowed = network.map((rule) => `${rule.host}:${rule.port ?? 443}`);
  const opaque = allowed.filter((_, index) => network[index]?.opaque === true);
  const problems = allowed
    .filter((host, index) => allowed.indexOf(host) !== index)
    .map((host) => `${at} spec.sandbox.network: "${host}" is declared twice`);
  const credentials = tool.spec.credentials ?? [];
  credentials.forEach((credential, index) => {
    const here = `${at} credential "${credential.name}"`;
    if (credentials.findIndex((other) => other.name === credential.name) !== index)
      problems.push(`${here} is declared twice`);
    for (const name of [credential.env, credential.placeholderEnv]) {
      if (name === undefined) continue;
      if (Object.hasOwn(tool.spec.sandbox?.env ?? {}, name))
        problems.push(`${here}: ${name} is also set in spec.sandbox.env`);
      const other = credentials.findIndex(
        (candidate) => candidate.env === name || candidate.placeholderEnv === name,
      );
      if (other !== index)
        problems.push(
          `${here}: ${name} is also set by credential "${credentials[other]?.name ?? ""}"`,
        );
    }
    const { http } = credential;
    if (http === undefined) return;
    for (const host of http.hosts.map(withPort)) {
      if (opaque.includes(host))
        problems.push(
          `${here} http.hosts: "${host}" is opaque in spec.sandbox.network; no credential can be put into what is not read`,
        );
      if (!allowed.includes(host))
        problems.push(
          `${here} http.hosts: "${host}" is not in spec.sandbox.network; expected one of ${allowed.join(", ") || "nothing, the list is empty"}`,
        );
    }
    if (http.header !== undefined && FRAMING_HEADERS.has(http.header.toLowerCase()))
      problems.push(
        `${here} http.header: "${http.header}" frames the request and cannot carry a credential`,
      );
    for (const other of credentials.slice(0, index))
      if (other.http !== undefined && canMatchSame(other.http, http))
        problems.push(
          `${here} and credential "${other.name}" can match the same request; at most one rule may`,
        );
  });
  return problems;
}

/** Checks that the values can be put where the rules say: one sentence for each problem, without a value. */
export function valueProblems(tool: Tool, values: ReadonlyMap<string, Buffer>): string[] {
  return (tool.spec.credentials ?? []).flatMap((credential) => {
    const id = `${credential.secretRef.name}/${credential.secretRef.key}`;
    const value = values.get(id);
    if (value === undefined) return [];
    const here = `Tool "${tool.metadata.name}" credential "${credential.name}": secret "${id}"`;
    if (credential.http !== undefined && value.length < MIN_SECRET_BYTES)
      return [
        `${here} is shorter than ${MIN_SECRET_BYTES} bytes, too short to be masked safely in responses`,
      ];
    const isLine = value.every((byte) => byte >= 0x20 && byte !== 0x7f);
    if (credential.http !== undefined && !isLine)
      return [`${here} holds a line break or control character; a request cannot carry it`];
    if (credential.env !== undefined && value.includes(0))
      return [`${here} holds a NUL byte; an environment variable cannot carry it`];
    return [];
  });
}

/** True when some request could match both rules. */
export function canMatchSame(left: HttpCredential, right: HttpCredential): boolean {
  const hosts = new Set(left.hosts.map(withPort));
  if (!right.hosts.map(withPort).some((host) => hosts.has(host))) return false;
  const methods = new Set<string>(left.methods);
  if (!right.methods.some((method) => methods.has(method))) return false;
  return left.paths.some((path) => right.paths.some((other) => pathsMeet(path, other)));
}

/** Exact paths, or prefixes of whole segments when they end in `/`; `{name}` stands for any one segment. */
function pathsMeet(left: string, right: string): boolean {
  const [a, b] = [segmentsOf(left), segmentsOf(right)];
  if (!a.isPrefix && !b.isPrefix && a.segments.length !== b.segments.length) return false;
  // A prefix also covers its own path, so an exact path must reach at least as far as the prefix.
  if (a.isPrefix && !b.isPrefix && b.segments.length < a.segments.length) return false;
  if (b.isPrefix && !a.isPrefix && a.segments.length < b.segments.length) return false;
  const common = Math.min(a.segments.length, b.segments.length);
  for (let index = 0; index < common; index += 1) {
    const [one = "", other = ""] = [a.segments[index], b.segments[index]];
    if (one !== other && !isPlaceholder(one) && !isPlaceholder(other)) return false;
  }
  return true;
}

function segmentsOf(path: string): { segments: string[]; isPrefix: boolean } {
  const isPrefix = path.endsWith("/");
  const inner = path.slice(1, isPrefix ? -1 : undefined);
  return { segments: inner === "" ? [] : inner.split("/"), isPrefix };
}

function isPlaceholder(segment: string): boolean {
  return /^\{[^{}]+\}$/.test(segment);
}

function withPort(host: string): string {
  return host.includes(":") ? host : `${host}:443`;
}
