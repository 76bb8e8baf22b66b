import { createReadStream } from "node:fs";
import type { ServerResponse } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";

const pageDir = fileURLToPath(new URL("./page/", import.meta.url));
const { resolve } = createRequire(import.meta.url);
const playerFile = (name: string): string => resolve(`asciinema-player/dist/bundle/${name}`);

/** The page: a closed list of files without data, the only thing that is served without a token. */
const FILES: Record<string, { path: string; type: string }> = {
  "/": { path: join(pageDir, "index.html"), type: "text/html; charset=utf-8" },
  "/page.js": { path: join(pageDir, "page.js"), type: "text/javascript; charset=utf-8" },
  "/api.js": { path: join(pageDir, "api.js"), type: "text/javascript; charset=utf-8" },
  "/run-view.js": { path: join(pageDir, "run-view.js"), type: "text/javascript; charset=utf-8" },
  "/dom.js": { path: join(pageDir, "dom.js"), type: "text/javascript; charset=utf-8" },
  "/player-view.js": {
    path: join(pageDir, "player-view.js"),
    type: "text/javascript; charset=utf-8",
  },
  "/terminal-view.js": {
    path: join(pageDir, "terminal-view.js"),
    type: "text/javascript; charset=utf-8",
  },
  "/adopt-styles.js": {
    path: join(pageDir, "adopt-styles.js"),
    type: "text/javascript; charset=utf-8",
  },
  "/xterm.js": {
    path: resolve("@xterm/xterm/lib/xterm.mjs"),
    type: "text/javascript; charset=utf-8",
  },
  "/xterm.css": { path: resolve("@xterm/xterm/css/xterm.css"), type: "text/css; charset=utf-8" },
  "/addon-fit.js": {
    path: resolve("@xterm/addon-fit/lib/addon-fit.mjs"),
    type: "text/javascript; charset=utf-8",
  },
  "/page.css": { path: join(pageDir, "page.css"), type: "text/css; charset=utf-8" },
  "/favicon.svg": { path: join(pageDir, "favicon.svg"), type: "image/svg+xml" },
  "/player.js": {
    path: playerFile("asciinema-player.min.js"),
    type: "text/javascript; charset=utf-8",
  },
  "/player.css": {
    path: playerFile("asciinema-player.css"),
    type: "text/css; charset=utf-8",
  },
};

/** True when the path names a file of the page. */
export function isPageFile(path: string): boolean {
  return Object.hasOwn(FILES, path);
}

/** Sends a file of the page. `port`: the page may open WebSockets to this manager only. */
export async function sendPageFile(
  response: ServerResponse,
  path: string,
  { port, head }: { port: number; head: boolean },
): Promise<void> {
  const file = FILES[path];
  if (file === undefined) throw new RangeError(`Not a file of the page: ${path}`);
  response.writeHead(200, {
    "content-type": file.type,
    "content-security-policy": contentSecurityPolicy(port),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
  });
  if (head) response.end();
  else await pipeline(createReadStream(file.path), response);
}

function contentSecurityPolicy(port: number): string {
  return [
    "default-src 'none'",
    // The player's terminal is WebAssembly.
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self'",
    // The player sets sizes and colours in style attributes.
    "style-src-attr 'unsafe-inline'",
    "img-src 'self' data:",
    "font-src 'self'",
    `connect-src 'self' ws://127.0.0.1:${port} ws://localhost:${port}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}
