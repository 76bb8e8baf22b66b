import type { RedactionTable } from "../../kit/redactor.ts";
import type { Destination } from "./allow-list.ts";
import {
  chooseCredential,
  type GrantedCredential,
  isForHost,
  type Rendered,
  renderCredential,
  secretOf,
} from "./credential-rule.ts";
import { type RequestLike, requestHeaders } from "./header-rules.ts";
import { Refusal } from "./refusal.ts";
import { requireUnambiguous } from "./strict-request.ts";

/** How one checked request is sent on. */
export interface RequestPlan {
  target: string;
  headers: string[];
  table: RedactionTable | null;
  dropCookies: boolean;
  /** name of the credential that is put in */
  credential: string | null;
}

/** Chooses and renders the credential of a request, and says what of the request goes upstream. Throws a `Refusal`. */
export function planRequest(
  req: RequestLike,
  target: string,
  to: Destination,
  credentials: readonly GrantedCredential[],
  tableFor: (secrets: Buffer[], extraForms: Buffer[]) => RedactionTable,
): RequestPlan {
  const { authority, rule, isTls } = to;
  const [path, queryText] = splitOnce(target, "?");
  const query = new URLSearchParams(queryText);
  const hasCredential = credentials.some(({ http }) => isForHost(http, authority));
  if (hasCredential) requireUnambiguous(target, query);
  const chosen = chooseCredential(credentials, authority, req.method ?? "", path);
  if (chosen !== null && !isTls && rule.private !== true) {
    throw new Refusal(
      403,
      "refused_rule",
      "credential_needs_tls",
      `Credential "${chosen.name}" is not sent over plain HTTP to a public host`,
      "use port 443",
    );
  }
  // Every secret of the call is looked for in every answer: what one request gave away, another could bring back.
  const rendered = new Map<GrantedCredential, Rendered>();
  const secrets = credentials.map((credential) => {
    const secret = secretOf(credential);
    rendered.set(credential, renderCredential(credential, secret));
    return secret;
  });
  const forms = [...rendered.values()].flatMap(({ extraForms }) => extraForms);
  const table = secrets.length === 0 ? null : tableFor(secrets, forms);
  const inject = chosen === null ? null : (rendered.get(chosen) ?? null);
  const isDefaultPort = authority.port === (isTls ? 443 : 80);
  return {
    target: inject?.query == null ? target : withQuery(chosen, query, target, inject.query),
    headers: requestHeaders(req, {
      authority: isDefaultPort ? authority.host : `${authority.host}:${authority.port}`,
      hasCredential,
      inject: inject?.header ?? null,
      isInjected: chosen !== null,
      scanned: table !== null,
    }),
    table,
    dropCookies: hasCredential,
    credential: chosen?.name ?? null,
  };
}

function withQuery(
  chosen: GrantedCredential | null,
  query: URLSearchParams,
  target: string,
  field: string,
): string {
  const name = chosen?.http.query ?? "";
  if ([...query.keys()].some((key) => key.toLowerCase() === name.toLowerCase())) {
    throw new Refusal(
      400,
      "refused_ambiguous",
      "ambiguous_request",
      `Query field "${name}" is set by the credential; leave it out`,
    );
  }
  return `${target}${target.includes("?") ? "&" : "?"}${field}`;
}

/** The text before and after the first separator; the second is empty without one. */
export function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
