/** The head of a message as bytes gave it, after one strict reading. Names keep their spelling, values lose outer blanks. */
export interface HttpFields {
  /** name, value, name, value …, in order */
  rawHeaders: string[];
  /** by lowercase name; fields that came more than once are joined by ", " */
  headers: Record<string, string>;
}

export interface RequestHead extends HttpFields {
  method: string;
  url: string;
  httpVersion: string;
}

export interface ResponseHead extends HttpFields {
  status: number;
  httpVersion: string;
}

/** How the end of a body is known. */
export type Framing =
  | { kind: "none" }
  | { kind: "length"; bytes: number }
  | { kind: "chunked" }
  | { kind: "close" };

/** Bytes that are not the one message they should be. Its text is ours; no byte is quoted. */
export class MalformedMessage extends Error {
  override readonly name = "MalformedMessage";
}

const MAX_FIELDS = 200;
const REQUEST_LINE =
  /^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21-\x7e\x80-\xff]+) HTTP\/([0-9]\.[0-9])$/;
const STATUS_LINE = /^HTTP\/(1\.[01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?$/;
// One way to match each byte: blanks that two parts could take would cost the square of a line's length.
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)$/;

/** Parses a request's head, without the empty line that ends it. Throws `MalformedMessage`. */
export function parseRequestHead(text: string): RequestHead {
  const lines = text.split("\r\n");
  const match = REQUEST_LINE.exec(lines[0] ?? "");
  if (match === null) throw new MalformedMessage("the request line is malformed");
  const [, method = "", url = "", httpVersion = ""] = match;
  return { method, url, httpVersion, ...parseFields(lines, 1) };
}

/** Parses an answer's head. Its reason phrase is not kept. Throws `MalformedMessage`. */
export function parseResponseHead(text: string): ResponseHead {
  const lines = text.split("\r\n");
  const match = STATUS_LINE.exec(lines[0] ?? "");
  if (match === null) throw new MalformedMessage("the status line is malformed");
  const [, httpVersion = "", status = ""] = match;
  return { status: Number(status), httpVersion, ...parseFields(lines, 1) };
}

/** Parses field lines: of a head after its first line, or trailers. No folding, no bare CR or LF, no NUL. */
export function parseFields(lines: readonly string[], from: number): HttpFields {
  if (lines.length - from > MAX_FIELDS) throw new MalformedMessage("there are too many fields");
  const rawHeaders: string[] = [];
  // Without a prototype: a field named __proto__ is a field.
  const headers = Object.create(null) as Record<string, string>;
  for (let index = from; index < lines.length; index++) {
    const match = FIELD.exec(lines[index] as string);
    if (match === null) throw new MalformedMessage("a header field is malformed");
    const name = match[1] as string;
    const value = withoutOuterBlanks(match[2] as string);
    const known = headers[name.toLowerCase()];
    headers[name.toLowerCase()] = known === undefined ? value : `${known}, ${value}`;
    rawHeaders.push(name, value);
  }
  return { rawHeaders, headers };
}

/** Spaces and tabs alone: `trim` would take a byte 0xa0 too, which ends many a UTF-8 character. */
function withoutOuterBlanks(text: string): string {
  const isBlank = (at: number): boolean => text[at] === " " || text[at] === "\t";
  let from = 0;
  let to = text.length;
  while (from < to && isBlank(from)) from += 1;
  while (to > from && isBlank(to - 1)) to -= 1;
  return text.slice(from, to);
}

/** How a request's body is framed. Two ways at once, or a way that two readers could read in two ways, is malformed. */
export function requestFraming({ headers }: HttpFields): Framing {
  const coding = headers["transfer-encoding"];
  const length = headers["content-length"];
  if (coding === undefined && length === undefined) return { kind: "none" };
  if (coding !== undefined && length !== undefined)
    throw new MalformedMessage("it has both Content-Length and Transfer-Encoding");
  if (length !== undefined) return { kind: "length", bytes: parseLength(length) };
  if (coding !== "chunked") throw new MalformedMessage("its Transfer-Encoding is not chunked");
  return { kind: "chunked" };
}

/** How an answer's body is framed; what came beside a body that there cannot be is ignored, as RFC 9112 asks. */
export function responseFraming(head: ResponseHead, method: string): Framing {
  const { headers, status, httpVersion } = head;
  const coding = headers["transfer-encoding"];
  const length = headers["content-length"];
  if (coding !== undefined && (length !== undefined || httpVersion === "1.0"))
    throw new MalformedMessage("its length is given in two ways");
  if (coding !== undefined && coding.toLowerCase() !== "chunked")
    throw new MalformedMessage("its Transfer-Encoding is not chunked");
  const bytes = length === undefined ? null : parseLength(length);
  if (method === "HEAD" || status === 204 || status === 304) return { kind: "none" };
  if (coding !== undefined) return { kind: "chunked" };
  return bytes === null ? { kind: "close" } : { kind: "length", bytes };
}

function parseLength(text: string): number {
  const bytes = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(bytes)) throw new MalformedMessage("its Content-Length is no number");
  return bytes;
}
