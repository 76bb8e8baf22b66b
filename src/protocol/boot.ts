import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import type * as z from "zod";
import { parseJson, READ_ONCE, writeJsonLine } from "../kit/json-lines.ts";
import { PlatformError } from "../kit/platform-error.ts";
import { ChildCommand } from "./run-spec.ts";
import type { ChildStatus } from "./child-status.ts";

export interface BootHandlers {
  onCommand(command: ChildCommand): void;
  /** The supervisor is gone (its end of the pipe closed). Called once. */
  onParentGone(): void;
}

/**
 * Reads what the supervisor hands a child: the first line of `input` is the boot document, later lines are commands, the end
 * is the loss of the supervisor. Rejects with `boot_missing` when the input ends before the first line.
 */
export function readBoot<T>(
  schema: z.ZodType<T>,
  handlers: BootHandlers,
  input: Readable,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  let booted = false;
  lines.on("line", (line) => {
    try {
      if (booted) handlers.onCommand(parseJson("a command of the supervisor", ChildCommand, line));
      else resolve(parseJson("the boot document", schema, line, READ_ONCE));
      booted = true;
    } catch (error) {
      // A broken command is the supervisor's fault; the run must not go on uncontrolled.
      if (booted) handlers.onParentGone();
      else reject(error);
    }
  });
  lines.once("close", () => {
    if (booted) handlers.onParentGone();
    else {
      reject(
        new PlatformError(
          "boot_missing",
          "Expected a boot document on standard input, got its end",
          {
            fix: "this program is started by agentkube run; see docs/architecture.md for its input",
          },
        ),
      );
    }
  });
  return promise;
}

/** Says one status line to the supervisor. */
export function say(output: Writable, status: ChildStatus): void {
  writeJsonLine(output, status);
}
