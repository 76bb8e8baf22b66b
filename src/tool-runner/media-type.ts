import { isUtf8 } from "node:buffer";
import { extname } from "node:path";

const TYPES: Readonly<Record<string, string>> = {
  ".css": "text/css",
  ".csv": "text/csv",
  ".gif": "image/gif",
  ".gz": "application/gzip",
  ".html": "text/html",
  ".jpeg": "image/jpeg",
  ".jpg": "image/jpeg",
  ".js": "text/javascript",
  ".json": "application/json",
  ".md": "text/markdown",
  ".pdf": "application/pdf",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".tar": "application/x-tar",
  ".txt": "text/plain",
  ".wav": "audio/wav",
  ".webp": "image/webp",
  ".xml": "application/xml",
  ".yaml": "application/yaml",
  ".yml": "application/yaml",
  ".zip": "application/zip",
};

/** What a file says it is by its name; else text when it is UTF-8 without NUL. A claim of whoever made the file, no more. */
export function mediaTypeOf(path: string, bytes: Buffer): string {
  const named = TYPES[extname(path).toLowerCase()];
  if (named !== undefined) return named;
  return isText(bytes) ? "text/plain" : "application/octet-stream";
}

/** Whether bytes can be shown as text without loss. */
export function isText(bytes: Buffer): boolean {
  return isUtf8(bytes) && !bytes.includes(0);
}
