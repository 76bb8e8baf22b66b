import type { HttpCredential } from "../../protocol/tool-manifest.ts";
import { type Authority, parseAuthority } from "./authority.ts";
import { Refusal } from "./refusal.ts";

/** Fewer bytes cannot be told from ordinary text in a response, so such a secret could not be masked. */
const MIN_SECRET_BYTES = 16;

/** A value for one request. Disposing it says that the request is over. */
export interface LentSecret extends Disposable {
  value: Buffer;
  /** as the audit names it */
  version: string;
  /** aborted when there is no value any more: the request is cut off */
  revoked: AbortSignal;
}

export interface GrantedCredential {
  name: string;
  http: HttpCredential;
  /** the value that is known already */
  secret: () => Buffer;
  /** reads the value anew, for one request; without it `secret` is what there is */
  lend?: () => Promise<LentSecret>;
}

/** What a credential adds to a request, and the texts that must not come back. */
export interface Rendered {
  header: [name: string, value: string] | null;
  query: string | null;
  extraForms: Buffer[];
}

/** True when the credential is for this host and port, whatever method and path. */
export function isForHost(rule: HttpCredential, authority: Authority): boolean {
  return rule.hosts.some((host) => {
    const named = parseAuthority(host, { defaultPort: 443 });
    return named?.host === authority.host && named.port === authority.port;
  });
}

/** True when the rule's methods and paths hold this request. The path is compared as it is written, without the query. */
export function isForRequest(rule: HttpCredential, method: string, path: string): boolean {
  return (
    rule.methods.some((allowed) => allowed === method) &&
    rule.paths.some((pattern) => isPathMatch(pattern, path))
  );
}

/** Exact; or whole segments below a pattern that ends in `/`; `{name}` is one segment that is not empty. */
export function isPathMatch(pattern: string, path: string): boolean {
  const wanted = pattern.split("/");
  const given = path.split("/");
  const isPrefix = pattern.endsWith("/");
  if (isPrefix ? given.length < wanted.length : given.length !== wanted.length) return false;
  const fixed = isPrefix ? wanted.slice(0, -1) : wanted;
  return fixed.every((segment, index) =>
    /^\{[^{}]*\}$/.test(segment) ? given[index] !== "" : segment === given[index],
  );
}

/** The one credential whose rule holds this request, or null. Two are a refusal: nobody said which. */
export function chooseCredential(
  credentials: readonly GrantedCredential[],
  authority: Authority,
  method: string,
  path: string,
): GrantedCredential | null {
  const matching = credentials.filter(
    ({ http }) => isForHost(http, authority) && isForRequest(http, method, path),
  );
  if (matching.length > 1) {
    const names = matching.map(({ name }) => `"${name}"`).join(" and ");
    throw new Refusal(
      403,
      "refused_ambiguous",
      "credentials_overlap",
      `Credentials ${names} both match ${method} ${path}`,
      "make the paths or methods of the tool's credentials exclude each other",
    );
  }
  return matching[0] ?? null;
}

/** The value for one request, read now. Throws a `Refusal` when there is none; null for a credential that is not read anew. */
export async function lendSecret(credential: GrantedCredential): Promise<LentSecret | null> {
  if (credential.lend === undefined) return null;
  try {
    return await credential.lend();
  } catch {
    // The cause is on record; its text is the provider's.
    throw unusable(credential.name, "has no value now");
  }
}

/** The refusal of a request whose credential was taken back while it was open. */
export function revokedRefusal(name: string): Refusal {
  return unusable(name, "was taken back while the request was open");
}

/** The path of the rule that holds this request, as the manifest has it. */
export function templateOf(rule: HttpCredential, path: string): string | undefined {
  return rule.paths.find((pattern) => isPathMatch(pattern, path));
}

/** The secret's bytes. A newline at its end, as files have it, is no part of it. Throws a `Refusal` when there is none. */
export function secretOf(credential: GrantedCredential): Buffer {
  let value: Buffer;
  try {
    value = credential.secret();
  } catch {
    // The cause is the provider's text and may quote the value.
    throw unusable(credential.name, "cannot be read");
  }
  let end = value.length;
  while (end > 0 && (value[end - 1] === 0x0a || value[end - 1] === 0x0d)) end -= 1;
  if (end < MIN_SECRET_BYTES)
    throw unusable(credential.name, `is shorter than ${MIN_SECRET_BYTES} bytes`);
  return value.subarray(0, end);
}

/** Renders the secret into the form its rule declares. Throws a `Refusal` when a header cannot hold it. */
export function renderCredential(credential: GrantedCredential, secret: Buffer): Rendered {
  const { http, name } = credential;
  const text = secret.toString("latin1");
  if (http.query !== undefined) {
    const query = `${encodeURIComponent(http.query)}=${encodeURIComponent(secret.toString())}`;
    return { header: null, query, extraForms: [] };
  }
  if (http.basic !== undefined) {
    const pair = Buffer.concat([Buffer.from(`${http.basic.username}:`), secret]);
    const encoded = pair.toString("base64");
    const header: [string, string] = ["Authorization", `Basic ${encoded}`];
    return { header, query: null, extraForms: [Buffer.from(encoded), pair] };
  }
  const value = (http.format ?? "{{secret}}").replaceAll("{{secret}}", () => text);
  if (/[^\t\x20-\x7e\x80-\xff]/.test(value))
    throw unusable(name, "has bytes that no header can hold");
  return {
    header: [http.header ?? "Authorization", value],
    query: null,
    // A secret that is itself base64 of user and password may come back decoded.
    extraForms: /^basic /i.test(value) ? [Buffer.from(value.slice(6), "base64")] : [],
  };
}

function unusable(name: string, why: string): Refusal {
  return new Refusal(
    502,
    "refused_credential",
    "credential_unusable",
    `Credential "${name}" ${why}; the request was not sent`,
    "check the secret that the tool's credential names",
  );
}
