import { goalFiles, homeFile, promptOf } from "./driver.ts";
import type { Driver, LaunchInput } from "./driver.ts";
import { TOKEN_VARIABLE } from "./model-access.ts";
import { isLoginLost, openStructuredJudge, textOf } from "./structured-judge.ts";
import type { LineResult } from "./structured-judge.ts";
import { cursorRules } from "../states/rules/cursor.ts";

/** Cursor's agent: its own service only, so the key is in zone A (`delivery: env`). From its documentation, not run. */
export const cursor: Driver = {
  prepare(input) {
    const { spec, gateway } = input;
    return {
      argv: argvOf(input),
      env: gateway.modelKey === undefined ? {} : { CURSOR_API_KEY: gateway.modelKey },
      files: [...goalFiles(spec), homeFile(".cursor/mcp.json", serversOf(input))],
    };
  },
  rules: cursorRules,
  openJudge: (spec) =>
    spec.agent.mode === "system" ? openStructuredJudge({ cli: "Cursor", read: resultOf }) : null,
};

function argvOf({ spec, resume }: LaunchInput): string[] {
  const { argv, goal, mode, model } = spec.agent;
  const words = [...argv];
  // Nobody answers a one-shot run, and zone A is its sandbox.
  if (mode === "system")
    words.push(
      "-p",
      "--output-format",
      "stream-json",
      "--trust",
      "--force",
      "--sandbox",
      "disabled",
    );
  words.push("--approve-mcps", "--workspace", spec.zone.workspace);
  if (model?.name !== undefined) words.push("--model", model.name);
  if (resume !== null) words.push("--resume", resume);
  if (goal !== null) words.push("--", promptOf(goal));
  return words;
}

function serversOf({ gateway }: LaunchInput): object {
  const headers = { Authorization: `Bearer \${env:${TOKEN_VARIABLE}}` };
  return { mcpServers: { agentkube: { url: `${gateway.url}/mcp`, headers } } };
}

/** `stream-json`: the last `result` line. */
function resultOf(line: Record<string, unknown>): LineResult | null {
  if (line["type"] !== "result") return null;
  const subtype = textOf(line["subtype"]);
  if (line["is_error"] !== true && (subtype === "" || subtype === "success"))
    return { kind: "done" };
  const cause = `${subtype || "is_error"}: ${textOf(line["result"])}`;
  return { kind: "error", cause, loginLost: isLoginLost(cause) };
}
