import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import type * as z from "zod";
import { PlatformError } from "./platform-error.ts";

/** For a document that a process reads once: to check it takes less time than to compile its schema first. */
export const READ_ONCE = { jitless: true };

/** Parses one JSON text against a schema. Throws `PlatformError` `bad_message` that names `what` and quotes no value. */
export function parseJson<T>(
  what: string,
  schema: z.ZodType<T>,
  text: string,
  options?: typeof READ_ONCE,
): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new PlatformError(
      "bad_message",
      `Expected ${what} as JSON, got ${text.length} characters that are not JSON`,
    );
  }
  const parsed = schema.safeParse(value, options);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map(
    (issue) => `${issue.path.join(".") || "(document)"}: ${issue.message}`,
  );
  throw new PlatformError("bad_message", `Expected ${what}: ${issues.join("; ")}`);
}

/** Reads JSON lines until the stream ends. A line that does not fit the schema throws. Lines are at most 16 MiB. */
export async function* readJsonLines<T>(
  what: string,
  schema: z.ZodType<T>,
  input: Readable,
): AsyncGenerator<T> {
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  for await (const line of lines) {
    if (line.length > 16 * 1024 * 1024)
      throw new PlatformError("bad_message", `Expected ${what} of at most 16 MiB`);
    if (line !== "") yield parseJson(what, schema, line);
  }
}

export function writeJsonLine(output: Writable, value: unknown): void {
  output.write(`${JSON.stringify(value)}\n`);
}
