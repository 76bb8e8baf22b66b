import type { ContentBlock } from "@modelcontextprotocol/sdk/types.js";
import type { LoadedOperation } from "./operations.ts";
import { isText } from "./media-type.ts";
import type { ResultFile, ResultFiles } from "./result-files.ts";
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
  const { outcome, exitCode, stdout, stderr, detail, reply, files } = result;
  if (reply !== null) return reply;
  if (outcome !== "completed" || exitCode !== 0) {
    return {
      content: [
        text([
          headline(tool, operation?.name ?? "", result),
          stdout,
          titled("stderr", stderr),
          titled("files", listed(files)),
        ]),
        ...resources(result),
      ],
      isError: true,
    };
  }
  const notes = [detail?.cause ?? "", detail?.fix ?? ""].filter((note) => note !== "").join(" – ");
  const content = [
    text([
      stdout === "" && stderr === "" && files.files.length === 0 ? "(no output)" : stdout,
      titled("stderr", stderr),
      titled("files", listed(files)),
      titled("note", notes),
    ]),
    ...resources(result),
  ];
  if (operation?.checkOutput === undefined || operation.checkOutput === null) return { content };
  // Checked when the call ended.
  return { content, structuredContent: JSON.parse(stdout) as Record<string, unknown> };
}

/** Each file as a resource of this call, which no later request can ask for: it is all here. */
function resources({ call, files }: CallResult): ContentBlock[] {
  return files.files.map((file) => ({ type: "resource", resource: resourceOf(call, file) }));
}

function resourceOf(
  call: string,
  { path, mediaType: mimeType, bytes }: ResultFile,
): Extract<ContentBlock, { type: "resource" }>["resource"] {
  const uri = `agentkube://call/${call}/${path.split("/").map(encodeURIComponent).join("/")}`;
  return isText(bytes)
    ? { uri, mimeType, text: bytes.toString("utf8") }
    : { uri, mimeType, blob: bytes.toString("base64") };
}

const WHY_NOT: Record<ResultFiles["omitted"][number]["why"], string> = {
  not_a_file: "no regular file",
  unreadable: "could not be read",
  too_large: "larger than what is left of limits.files",
  too_many: "more than one call gives",
  bad_name: "its name is not UTF-8, too long or holds a secret",
};

/** Names are a tool's text, so they stand as JSON. */
function listed({ files, omitted }: ResultFiles): string {
  return [
    ...files.map(
      ({ path, mediaType, bytes }) =>
        `${JSON.stringify(path)} (${mediaType}, ${bytes.length} bytes)`,
    ),
    ...omitted.map(({ path, why }) => `${JSON.stringify(path)} left out: ${WHY_NOT[why]}`),
  ].join("\n");
}

function headline(
  tool: string,
  operation: string,
  { outcome, exitCode, detail }: CallResult,
): string {
  const name = `${tool} ${operation}`.trim();
  if (outcome === "completed")
    return `${name} ended with exit code ${exitCode}. ${detail?.cause ?? ""}`.trim();
  const fix = detail?.fix === undefined ? "" : `\nWhat to do: ${detail.fix}.`;
  return `${name}: ${outcome.replaceAll("_", " ")}. ${detail?.cause ?? ""}${fix}`.trim();
}

function titled(title: string, body: string): string {
  return body === "" ? "" : `[${title}]\n${body}`;
}

function text(parts: string[]): { type: "text"; text: string } {
  return { type: "text", text: parts.filter((part) => part !== "").join("\n") };
}
