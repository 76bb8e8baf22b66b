import type { ContentBlock } from "@modelcontextprotocol/sdk/types.js";
import type { LoadedOperation } from "./operations.ts";
import type { CallResult } from "./tool-runner.ts";

/** A call's result as MCP wants it. */
export interface CallText {
  content: ContentBlock[];
  isError?: boolean;
  structuredContent?: Record<string, unknown>;
}

/** Renders a result for a model: what the tool said, and when it went wrong, what happened and what could be done. */
export function textOfCall(
  tool: string,
  operation: LoadedOperation | undefined,
  result: CallResult,
): CallText {
  const { outcome, exitCode, stdout, stderr, detail, reply } = result;
  if (reply !== null) return reply;
  if (outcome !== "completed" || exitCode !== 0) {
    return {
      content: [
        text([headline(tool, operation?.name ?? "", result), stdout, titled("stderr", stderr)]),
      ],
      isError: true,
    };
  }
  const notes = [detail?.cause ?? "", detail?.fix ?? ""].filter((note) => note !== "").join(" – ");
  const content = [
    text([
      stdout === "" && stderr === "" ? "(no output)" : stdout,
      titled("stderr", stderr),
      titled("note", notes),
    ]),
  ];
  if (operation?.checkOutput === undefined || operation.checkOutput === null) return { content };
  return structured(operation, stdout, content);
}

/** With an outputSchema the output must be one JSON document that fits; anything else is the tool's fault and said so. */
function structured(
  operation: LoadedOperation,
  stdout: string,
  content: CallText["content"],
): CallText {
  let value: unknown;
  try {
    value = JSON.parse(stdout);
  } catch {
    return {
      content: [
        text(["The tool's output is not the JSON that its outputSchema promises.", stdout]),
      ],
      isError: true,
    };
  }
  const problems = operation.checkOutput?.(value) ?? [];
  if (problems.length > 0)
    return {
      content: [
        text([`The tool's output does not fit its outputSchema: ${problems.join("; ")}`, stdout]),
      ],
      isError: true,
    };
  return { content, structuredContent: value as Record<string, unknown> };
}

function headline(
  tool: string,
  operation: string,
  { outcome, exitCode, detail }: CallResult,
): string {
  const name = `${tool} ${operation}`.trim();
  if (outcome === "completed") return `${name} ended with exit code ${exitCode}.`;
  const fix = detail?.fix === undefined ? "" : `\nWhat to do: ${detail.fix}.`;
  return `${name}: ${outcome.replaceAll("_", " ")}. ${detail?.cause ?? ""}${fix}`.trim();
}

function titled(title: string, body: string): string {
  return body === "" ? "" : `[${title}]\n${body}`;
}

function text(parts: string[]): { type: "text"; text: string } {
  return { type: "text", text: parts.filter((part) => part !== "").join("\n") };
}
