import { type Authority, isAuthority } from "./authority.ts";
import type { RequestLike } from "./header-rules.ts";
import { Refusal } from "./refusal.ts";

const MAX_TARGET = 8192;
const NOT_FORWARDED = new Set(["TRACE", "TRACK", "CONNECT"]);
/** Percent-encodings that a server may read as structure: control characters, `.`, `/`, `\`, `;` and a double encoding of them. */
const STRUCTURE = /%(?:25)*(?:[01][0-9a-f]|2e|2f|5c|7f|3b|c0|c1)/i;
/** A proof of the client's own, or a wish to be taken for another method; compared after mapping `_` to `-`. */
const STEERING_QUERY =
  /^(?:-method|(?:access|oauth|private|auth|job)-token|api-?key|authorization|x-(?:amz|goog)-.*|x-http-method(?:-override)?)$/;

/** Every value of a header, in order, from the raw list: Node joins or drops duplicates elsewhere. */
export function rawValues(req: RequestLike, name: string): string[] {
  const { rawHeaders } = req;
  return rawHeaders.filter(
    (_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === name,
  );
}

/**
 * Refuses what two readers could read in two ways: another Host than the connection's, two of them, upgrades, unusual framing,
 * HTTP/1.0, a target that is not a plain path. What passes is sent on byte for byte as one request.
 */
export function requireStrict(
  req: RequestLike,
  target: string,
  authority: Authority,
  defaultPort: number,
): void {
  const hosts = rawValues(req, "host");
  if (hosts.length !== 1 || !isAuthority(hosts[0] ?? "", authority, defaultPort)) {
    throw new Refusal(
      421,
      "refused_name_mismatch",
      "host_mismatch",
      `Expected exactly one Host header that names ${authority.host}:${authority.port}, the host of this connection`,
    );
  }
  if (req.httpVersion !== "1.1") throw ambiguous("Expected HTTP/1.1");
  const method = req.method ?? "";
  if (NOT_FORWARDED.has(method)) {
    throw new Refusal(405, "refused_rule", "method_refused", `Method ${method} is not forwarded`);
  }
  if (rawValues(req, "upgrade").length > 0) {
    throw new Refusal(
      403,
      "refused_rule",
      "upgrade_refused",
      "Connection upgrades (WebSocket, h2c) are not forwarded",
      "use plain HTTP/1.1 requests",
    );
  }
  const codings = rawValues(req, "transfer-encoding");
  const lengths = rawValues(req, "content-length");
  const isPlain = codings.length === 0 || (codings.length === 1 && codings[0] === "chunked");
  if (!isPlain || lengths.length > 1 || (codings.length > 0 && lengths.length > 0)) {
    throw ambiguous("Expected one Content-Length or Transfer-Encoding: chunked");
  }
  if (target.length > MAX_TARGET) {
    throw new Refusal(
      414,
      "refused_ambiguous",
      "target_too_long",
      `Expected a request target of at most ${MAX_TARGET} characters, got ${target.length}`,
    );
  }
  if (!/^\/[\x21-\x7e]*$/.test(target) || /[#\\]/.test(target)) {
    throw ambiguous("Expected a path of printable ASCII that begins with / and has no # or \\");
  }
}

/** Where a credential is at stake: refuses spellings of path and query that a server could resolve to another resource. */
export function requireUnambiguous(target: string, query: URLSearchParams): void {
  const path = target.split("?", 1)[0] ?? "";
  const segments = path.slice(1).split("/");
  const isOdd =
    STRUCTURE.test(path) ||
    /%(?![0-9a-fA-F]{2})/.test(path) ||
    segments.slice(0, -1).includes("") ||
    segments.some((segment) => /^\.{1,2}(?:(?:;|%20).*)?$/.test(segment));
  if (isOdd) {
    throw ambiguous(
      "The path has empty or dot segments or encodes structure (%2e %2f %5c %00 …), which servers read differently",
    );
  }
  for (const name of query.keys()) {
    if (STEERING_QUERY.test(name.toLowerCase().replaceAll("_", "-"))) {
      throw ambiguous(`Query field "${name}" is not forwarded to a host with a credential`);
    }
  }
}

function ambiguous(message: string): Refusal {
  return new Refusal(400, "refused_ambiguous", "ambiguous_request", message);
}
