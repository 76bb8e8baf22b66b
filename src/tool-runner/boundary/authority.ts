import { isIP } from "node:net";

/** A host and a port as a request names them, in their one accepted spelling. */
export interface Authority {
  readonly host: string;
  readonly port: number;
}

const LABELS =
  /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;
const PORT = /^[1-9][0-9]{0,4}$/;

/**
 * Parses `host:port`, or `host` alone with a default port. Null for every other spelling: capitals, a trailing dot, user
 * information, spaces, names that some resolvers read as a number (`0x7f000001`, `127.1`), and IP addresses unless allowed.
 */
export function parseAuthority(
  text: string,
  options: { defaultPort?: number; addresses?: boolean } = {},
): Authority | null {
  const match = /^(\[[0-9a-f:.]+\]|[^:[\]]+)(?::([0-9]+))?$/.exec(text);
  if (match === null) return null;
  const [, written = "", digits] = match;
  const port = digits === undefined ? options.defaultPort : parsePort(digits);
  if (port === undefined || port === null) return null;
  const bare = written.startsWith("[") ? written.slice(1, -1) : written;
  if (isIP(bare) !== 0) {
    const isSpelledRight = (isIP(bare) === 6) === written.startsWith("[");
    return options.addresses === true && isSpelledRight ? { host: bare, port } : null;
  }
  return isHostName(written) ? { host: written, port } : null;
}

/** The two ways a client may write this authority in a Host header. */
export function isAuthority(text: string, authority: Authority, defaultPort: number): boolean {
  const host = isIP(authority.host) === 6 ? `[${authority.host}]` : authority.host;
  if (text === `${host}:${authority.port}`) return true;
  return authority.port === defaultPort && text === host;
}

/** Splits the absolute form `http://host[:port]/path?query`. Null for other schemes, fragments and odd authorities. */
export function parseAbsoluteTarget(
  target: string,
  options: { addresses?: boolean } = {},
): { authority: Authority; path: string } | null {
  const match = /^http:\/\/([^/?#\\@]+)(\/[^#]*)?$/.exec(target);
  if (match === null) return null;
  const authority = parseAuthority(match[1] ?? "", { ...options, defaultPort: 80 });
  return authority === null ? null : { authority, path: match[2] ?? "/" };
}

function isHostName(text: string): boolean {
  // The last label of a real name is not a number; `127.1` and `2130706433` are addresses to some resolvers.
  return LABELS.test(text) && !/(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$/.test(text);
}

function parsePort(digits: string): number | null {
  return PORT.test(digits) && Number(digits) <= 65_535 ? Number(digits) : null;
}
