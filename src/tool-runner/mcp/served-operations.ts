import { setImmediate } from "node:timers/promises";
import type { Tool } from "@modelcontextprotocol/sdk/types.js";
import { messageOf } from "../../kit/platform-error.ts";
import { compileSchema, type SchemaCheck } from "../argument-schema.ts";
import { CheckBudget } from "../check-budget.ts";
import type { LoadedOperation, ToolProblem } from "../operations.ts";

/** A name that every client and the shim can write. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const MAX_DESCRIPTION = 16 * 1024;
/** Schemas are compiled, which takes a while: each of a tool's, and all of a server's together. */
const MAX_SCHEMA_BYTES = 64 * 1024;
const MAX_SCHEMAS_BYTES = 1024 * 1024;

/**
 * The operations that an MCP server's tools become. `allow` null: all of them. What is left out, and why, is in `problems`: a
 * tool of the allow list that the server has not, a name nobody can write, a schema that does not compile.
 */
export async function servedOperations(
  tools: readonly Tool[],
  allow: ReadonlySet<string> | null,
): Promise<{ operations: Map<string, LoadedOperation>; problems: ToolProblem[] }> {
  const operations = new Map<string, LoadedOperation>();
  const problems: ToolProblem[] = [];
  // One for all: a server that means ill could name a slow schema a hundred times.
  const budget = new CheckBudget();
  let bytes = 0;
  for (const tool of tools) {
    if (allow !== null && !allow.has(tool.name)) continue;
    const shown = JSON.stringify(tool.name.slice(0, 128));
    if (!NAME.test(tool.name) || operations.has(tool.name)) {
      problems.push({
        path: "spec.mcp",
        problem: `the server's tool ${shown} has a name that cannot be used, or that it has twice`,
      });
      continue;
    }
    // Other calls go on between two of them.
    await setImmediate();
    try {
      bytes += schemaBytes(tool);
      if (bytes > MAX_SCHEMAS_BYTES)
        throw new Error(`the schemas up to here have more than ${MAX_SCHEMAS_BYTES} bytes`);
      operations.set(tool.name, operationOf(tool, budget));
    } catch (error) {
      problems.push({
        path: "spec.mcp",
        problem: `the server's tool ${shown} has a schema that cannot be used: ${messageOf(error)}`,
      });
    }
  }
  for (const name of allow ?? []) {
    if (!tools.some((tool) => tool.name === name))
      problems.push({
        path: "spec.mcp.tools",
        problem: `the server has no tool ${JSON.stringify(name)}; it has ${tools.map((tool) => tool.name).join(", ") || "none"}`,
        fix: "name the server's tools as it does, or leave the list out",
      });
  }
  return { operations, problems };
}

/** Throws for a schema that is too large. */
function schemaBytes({ inputSchema, outputSchema }: Tool): number {
  const sizes = [inputSchema, outputSchema ?? {}].map((schema) =>
    Buffer.byteLength(JSON.stringify(schema)),
  );
  const largest = Math.max(...sizes);
  if (largest > MAX_SCHEMA_BYTES)
    throw new Error(`expected at most ${MAX_SCHEMA_BYTES} bytes, got ${largest}`);
  return sizes.reduce((sum, size) => sum + size, 0);
}

function operationOf(tool: Tool, budget: CheckBudget): LoadedOperation {
  const inputSchema = tool.inputSchema as Record<string, unknown>;
  const outputSchema = (tool.outputSchema ?? null) as Record<string, unknown> | null;
  return {
    name: tool.name,
    description: (tool.description ?? tool.title ?? "").slice(0, MAX_DESCRIPTION),
    inputSchema,
    outputSchema,
    check: lenient(inputSchema, budget),
    checkOutput: outputSchema === null ? null : lenient(outputSchema, budget),
    known: Object.keys(tool.inputSchema.properties ?? {}),
    files: [],
    words: [],
    allowDash: new Set(),
    stdin: "none",
  };
}

/** A server writes its schemas for many clients, so unknown keywords and formats are let pass; references to elsewhere are not. */
function lenient(schema: Record<string, unknown>, budget: CheckBudget): SchemaCheck {
  return compileSchema(schema, { strict: false, budget });
}
