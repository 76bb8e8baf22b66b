import type { CallToolResult, ContentBlock } from "@modelcontextprotocol/sdk/types.js";
import type { LoadedOperation } from "../operations.ts";

/** What an MCP server answered to a call, within the tool's limits, for whoever speaks MCP. */
export interface ServerReply {
  readonly content: ContentBlock[];
  readonly structuredContent?: Record<string, unknown>;
  readonly isError?: true;
}

/** A reply, and the same as text for those who do not speak MCP. */
export interface RenderedReply {
  readonly reply: ServerReply;
  readonly text: string;
  readonly truncated: boolean;
}

/** Brings an answer into the tool's output limit and checks it against the output schema. */
export function renderReply(
  operation: LoadedOperation,
  result: CallToolResult,
  capBytes: number,
): RenderedReply {
  const problem = result.isError === true ? null : problemOf(operation, result);
  if (problem !== null) return rendered([text(problem), ...result.content], null, true, capBytes);
  return rendered(
    result.content,
    result.structuredContent ?? null,
    result.isError === true,
    capBytes,
  );
}

function problemOf({ checkOutput }: LoadedOperation, result: CallToolResult): string | null {
  if (checkOutput === null) return null;
  if (result.structuredContent === undefined)
    return "The MCP server's answer lacks the structured content that its outputSchema promises.";
  const problems = checkOutput(result.structuredContent);
  return problems.length === 0
    ? null
    : `The MCP server's answer does not fit its outputSchema: ${problems.join("; ")}`;
}

function rendered(
  content: readonly ContentBlock[],
  structured: Record<string, unknown> | null,
  isError: boolean,
  capBytes: number,
): RenderedReply {
  const mark = `\n[truncated after ${capBytes} bytes]`;
  const kept: ContentBlock[] = [];
  let left = capBytes;
  let truncated = false;
  for (const { _meta, ...block } of content as (ContentBlock & { _meta?: unknown })[]) {
    const bytes = Buffer.byteLength(JSON.stringify(block));
    if (!truncated && bytes <= left) {
      kept.push(block);
      left -= bytes;
      continue;
    }
    if (!truncated && block.type === "text") kept.push(text(cut(block.text, left) + mark));
    else if (!truncated) kept.push(text(mark.trim()));
    truncated = true;
  }
  // Half a document fits no schema, so it is all or an error.
  const isTooLarge =
    structured !== null && Buffer.byteLength(JSON.stringify(structured)) > capBytes;
  if (isTooLarge)
    kept.unshift(
      text(`The MCP server's structured content is larger than the limit of ${capBytes} bytes.`),
    );
  const failed = isError || isTooLarge;
  return {
    reply: {
      content: kept,
      ...(structured === null || isTooLarge ? {} : { structuredContent: structured }),
      ...(failed ? { isError: true } : {}),
    },
    text: kept.map(textOf).join("\n"),
    truncated: truncated || isTooLarge,
  };
}

function cut(whole: string, bytes: number): string {
  return new TextDecoder().decode(Buffer.from(whole).subarray(0, bytes)).replace(/\u{FFFD}$/u, "");
}

function text(words: string): ContentBlock & { type: "text" } {
  return { type: "text", text: words };
}

function textOf(block: ContentBlock): string {
  switch (block.type) {
    case "text":
      return block.text;
    case "image":
    case "audio":
      return `[${block.type}: ${block.mimeType}, ${Buffer.byteLength(block.data, "base64")} bytes]`;
    case "resource_link":
      return `[resource: ${block.uri}]`;
    case "resource":
      return "text" in block.resource ? block.resource.text : `[resource: ${block.resource.uri}]`;
  }
}
