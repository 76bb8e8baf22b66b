import type { RedactionTable } from "../../kit/redactor.ts";
import type { Destination } from "./allow-list.ts";
import {
  chooseCredential,
  type GrantedCredential,
  isForHost,
  lendSecret,
  type LentSecret,
  type Rendered,
  renderCredential,
  secretOf,
  templateOf,
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
  /** the path of its rule */
  template: string | undefined;
  /** its value, lent for this request; to be disposed with it */
  lent: LentSecret | null;
}

/**
 * Chooses and renders the credential of a request, and says what of the request goes upstream. Throws a `Refusal`. `redaction`:
 * masks every secret of the run, whatever was lent last; without it the table is made of the call's own.
 */
export async function planRequest(
  req: RequestLike,
  target: string,
  to: Destination,
  credentials: readonly GrantedCredential[],
  tableFor: (secrets: Buffer[], extraForms: Buffer[]) => RedactionTable,
  redaction?: () => RedactionTable | null,
): Promise<RequestPlan> {
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
  using held = new DisposableStack();
  const lent = chosen === null ? null : await lendSecret(chosen);
  held.use(lent);
  const secretFor = (credential: GrantedCredential): Buffer =>
    secretOf(
      credential === chosen && lent !== null
        ? { ...credential, secret: () => lent.value }
        : credential,
    );
  // Every secret of the call is looked for in every answer: what one request gave away, another could bring back.
  const rendered = new Map<GrantedCredential, Rendered>();
  const toRender = redaction === undefined ? credentials : chosen === null ? [] : [chosen];
  const secrets = toRender.map((credential) => {
    const secret = secretFor(credential);
    rendered.set(credential, renderCredential(credential, secret));
    return secret;
  });
  const forms = [...rendered.values()].flatMap(({ extraForms }) => extraForms);
  const table = redaction?.() ?? (secrets.length === 0 ? null : tableFor(secrets, forms));
  const inject = chosen === null ? null : (rendered.get(chosen) ?? null);
  const isDefaultPort = authority.port === (isTls ? 443 : 80);
  const plan = {
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
    template: chosen === null ? undefined : templateOf(chosen.http, path),
    lent,
  };
  held.move();
  return plan;
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
