import { createReadStream } from "node:fs";
import type { ServerResponse } from "node:http";
import { createRequire } from "node:module";
import { extname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";

const pageDir = fileURLToPath(new URL("./page/", import.meta.url));
const { resolve } = createRequire(import.meta.url);

/** The page's own, by name. */
const OWN = `
  base.css list.css run.css session.css rows.css favicon.svg
  page.js api.js connection.js dom.js format.js pills.js list-view.js
  run-view.js run-head.js follow-run.js ask-banner.js call-list.js event-list.js shell-list.js
  session-view.js player-view.js moments.js terminal-view.js adopt-styles.js
`
  .trim()
  .split(/\s+/);

/** The page: a closed list of files without data, the only thing that is served without a token. */
const FILES: Readonly<Record<string, string>> = {
  "/": join(pageDir, "index.html"),
  ...Object.fromEntries(OWN.map((name) => [`/${name}`, join(pageDir, name)])),
  "/player.js": resolve("asciinema-player/dist/bundle/asciinema-player.min.js"),
  "/player.css": resolve("asciinema-player/dist/bundle/asciinema-player.css"),
  "/xterm.js": resolve("@xterm/xterm/lib/xterm.mjs"),
  "/addon-unicode11.js": resolve("@xterm/addon-unicode11/lib/addon-unicode11.mjs"),
  "/xterm.css": resolve("@xterm/xterm/css/xterm.css"),
};

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** True when the path names a file of the page. */
export function isPageFile(path: string): boolean {
  return Object.hasOwn(FILES, path);
}

/** Sends a file of the page. It may open WebSockets to this manager only, at `port` by loopback's names and by `hosts`. */
export async function sendPageFile(
  response: ServerResponse,
  path: string,
  { port, hosts, head }: { port: number; hosts: readonly string[]; head: boolean },
): Promise<void> {
  const file = FILES[path];
  if (file === undefined) throw new RangeError(`Not a file of the page: ${path}`);
  response.writeHead(200, {
    "content-type": TYPES[extname(file)] ?? "application/octet-stream",
    "content-security-policy": contentSecurityPolicy(["127.0.0.1", "localhost", ...hosts], port),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
  });
  if (head) response.end();
  else await pipeline(createReadStream(file), response);
}

function contentSecurityPolicy(hosts: readonly string[], port: number): string {
  return [
    "default-src 'none'",
    // The player's terminal is WebAssembly.
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self'",
    // The player sets sizes and colours in style attributes.
    "style-src-attr 'unsafe-inline'",
    "img-src 'self' data:",
    "font-src 'self'",
    `connect-src 'self' ${hosts.map((name) => `ws://${name}:${port}`).join(" ")}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}
