import * as z from "zod";
import type { RunEnd } from "../../protocol/outcome.ts";
import type { ProgramExit } from "../../kit/init-channel.ts";
import type { Judge } from "./driver.ts";

/** Longer lines are no result line that we would read. */
const MAX_LINE_BYTES = 4 * 1024 * 1024;

const ResultLine = z.object({
  type: z.literal("result"),
  subtype: z.string().optional(),
  is_error: z.boolean().optional(),
  result: z.string().optional(),
  terminal_reason: z.string().optional(),
});
type ResultLine = z.infer<typeof ResultLine>;

/** Reads `--output-format stream-json`: the last `result` line and the exit status decide together; neither alone is success. */
export function openClaudeCodeJudge(): Judge {
  const said = Promise.withResolvers<void>();
  let held: Buffer[] = [];
  let heldBytes = 0;
  let result: ResultLine | undefined;

  const endLine = () => {
    const line = Buffer.concat(held).toString("utf8");
    held = [];
    const overlong = heldBytes > MAX_LINE_BYTES;
    heldBytes = 0;
    const parsed = overlong ? undefined : resultOf(line);
    if (parsed === undefined) return;
    result = parsed;
    said.resolve();
  };

  return {
    result: said.promise,
    push(bytes) {
      let rest = bytes;
      for (let end = rest.indexOf(0x0a); end !== -1; end = rest.indexOf(0x0a)) {
        if (heldBytes <= MAX_LINE_BYTES) held.push(Buffer.from(rest.subarray(0, end)));
        endLine();
        rest = rest.subarray(end + 1);
      }
      heldBytes += rest.length;
      if (heldBytes > MAX_LINE_BYTES) held = [];
      else if (rest.length > 0) held.push(Buffer.from(rest));
    },
    verdict: (exit, stopped) => verdictOf(result, exit, stopped),
  };
}

/** A terminal may put control sequences before the document. */
function resultOf(line: string): ResultLine | undefined {
  const start = line.indexOf("{");
  if (start === -1 || !line.includes('"result"')) return undefined;
  try {
    return ResultLine.safeParse(JSON.parse(line.slice(start))).data;
  } catch {
    return undefined;
  }
}

function verdictOf(
  result: ResultLine | undefined,
  exit: ProgramExit,
  stopped: boolean,
): RunEnd | null {
  const exitCode = exit.kind === "exited" ? exit.code : null;
  const signal = exit.kind === "signalled" ? exit.signal : null;
  if (result === undefined) {
    if (exitCode !== 0) return null;
    const cause = "Claude Code exited with 0 and without a result line; what it did is unknown";
    return { outcome: "failed", reason: "result_error", exitCode, signal, detail: { cause } };
  }
  const ok = result.is_error !== true && (result.subtype ?? "success") === "success";
  if (!ok) {
    const why = [result.subtype, result.terminal_reason].filter((word) => word !== undefined);
    const cause = `Claude Code's result is an error (${why.join(", ") || "is_error"}): ${result.result ?? ""}`;
    const detail = { cause: cause.slice(0, 4096) };
    return { outcome: "failed", reason: "result_error", exitCode, signal, detail };
  }
  if (stopped) return { outcome: "succeeded", reason: "hung_after_result", exitCode, signal };
  if (exitCode === 0) return { outcome: "succeeded", reason: "completed", exitCode, signal };
  return null;
}
