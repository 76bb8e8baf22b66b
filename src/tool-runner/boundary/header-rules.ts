import { type RedactionTable, redactWhole } from "../../kit/redactor.ts";

/** Fields that belong to one connection and never travel on. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
/** Set anew for every forwarded request. */
const OURS = new Set(["host", "content-length", "expect"]);
/** Whatever a client may prove itself with; compared after mapping `_` to `-`, as many servers do. */
const AUTH_CLASS = new RegExp(
  `^(?:${[
    "authorization|proxy-.*|cookie2?|api-?key|private-token|job-token|dpop|authentication|ocp-apim-subscription-key",
    "x-(?:authorization|authentication|auth(?:-.*)?|token|api-?key|goog-.*|amz-.*)",
    "x-.*-(?:token|jwt|secret|signature|credentials?|authorization|authentication|auth|api-?key)",
    "x-(?:.*-)?(?:access|auth|secret|subscription|functions|rapidapi|service|master|admin)-key",
  ].join("|")})$`,
);
/** Fields by which a request asks to be treated as another one. */
const STEERING =
  /^(?:x-http-method(?:-override)?|x-method-override|x-original-.*|x-rewrite-.*|x-forwarded-.*|forwarded|x-host|x-real-ip)$/;

/** What is read of a message's fields, whoever parsed it. */
export interface FieldsLike {
  readonly rawHeaders: readonly string[];
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
}

/** A request's head, whoever parsed it. */
export interface RequestLike extends FieldsLike {
  readonly method?: string | undefined;
  readonly httpVersion: string;
}

export interface RequestHeaderPlan {
  authority: string;
  /** a credential is bound to the host: what the client brought as its own proof is removed */
  hasCredential: boolean;
  /** the header that is put in */
  inject: [string, string] | null;
  /** a credential is put in, as header or query: the whole resource is asked for, so that no secret comes back in parts */
  isInjected: boolean;
  /** the response must be readable for the redactor */
  scanned: boolean;
  /** names (lowercase) that are removed besides */
  remove?: ReadonlySet<string>;
  /** values that are removed wherever they stand */
  removeValue?: (value: string) => boolean;
}

/** The flat header list of the forwarded request, in the client's order and spelling. */
export function requestHeaders(req: RequestLike, plan: RequestHeaderPlan): string[] {
  const listed = connectionListed(req.headers.connection);
  const injected = plan.inject === null ? null : canonical(plan.inject[0]);
  const out: string[] = ["Host", plan.authority];
  for (const [name, value] of pairs(req.rawHeaders)) {
    const lower = name.toLowerCase();
    const mapped = canonical(name);
    // `_` for `-` too: a server that takes both would frame the body by it.
    if (HOP_BY_HOP.has(mapped) || OURS.has(mapped) || listed.has(lower)) continue;
    if (plan.scanned && lower === "accept-encoding") continue;
    if (plan.hasCredential && (AUTH_CLASS.test(mapped) || STEERING.test(mapped))) continue;
    if (mapped === injected) continue;
    if (plan.isInjected && (mapped === "range" || mapped === "if-range")) continue;
    if (plan.remove?.has(mapped) === true || plan.removeValue?.(value) === true) continue;
    out.push(name, value);
  }
  if (plan.scanned) out.push("Accept-Encoding", "identity");
  if (plan.inject !== null) out.push(...plan.inject);
  return [...out, ...framing(req)];
}

/** The flat header list of the answer, masked. A field whose name holds a secret is left out. */
export function responseHeaders(
  response: FieldsLike,
  options: { table: RedactionTable | null; dropCookies: boolean; isDecoded: boolean },
): { headers: string[]; masked: number } {
  const listed = connectionListed(response.headers.connection);
  const kept: string[] = [];
  for (const [name, value] of pairs(response.rawHeaders)) {
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || listed.has(lower) || lower === "alt-svc") continue;
    if (options.dropCookies && /^set-cookie2?$/.test(lower)) continue;
    if (options.isDecoded && (lower === "content-encoding" || lower === "content-length")) continue;
    kept.push(name, value);
  }
  // Nearly always there is nothing, and one pass over all fields says so.
  if (maskText(options.table, kept.join("\n")).masked === 0) return { headers: kept, masked: 0 };
  const headers: string[] = [];
  let masked = 0;
  for (const [name, value] of pairs(kept)) {
    const cleanName = maskText(options.table, name);
    const cleanValue = maskText(options.table, value);
    masked += cleanName.masked + cleanValue.masked;
    if (cleanName.masked === 0) headers.push(name, cleanValue.text);
  }
  return { headers, masked };
}

/** Masks one short text, such as a header value or a trailer. */
export function maskText(
  table: RedactionTable | null,
  text: string,
): { text: string; masked: number } {
  if (table === null) return { text, masked: 0 };
  const { bytes, masked } = redactWhole(table, Buffer.from(text, "latin1"));
  return { text: bytes.toString("latin1"), masked };
}

/** How the forwarded body is framed: as the client did, which was checked to be one plain way. */
function framing(req: RequestLike): string[] {
  const length = req.headers["content-length"];
  if (length !== undefined) return ["Content-Length", String(length)];
  if (req.headers["transfer-encoding"] !== undefined) return ["Transfer-Encoding", "chunked"];
  return ["GET", "HEAD", "OPTIONS", "DELETE"].includes(req.method ?? "")
    ? []
    : ["Content-Length", "0"];
}

function canonical(name: string): string {
  return name.toLowerCase().replaceAll("_", "-");
}

function connectionListed(value: string | readonly string[] | undefined): Set<string> {
  return new Set(
    String(value ?? "")
      .split(",")
      .map((name) => name.trim().toLowerCase()),
  );
}

function* pairs(raw: readonly string[]): Generator<[string, string]> {
  for (let index = 0; index + 1 < raw.length; index += 2) {
    yield [raw[index] as string, raw[index + 1] as string];
  }
}
