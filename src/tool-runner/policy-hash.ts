import { canonicalJson } from "../kit/canonical-json.ts";
import { hashOf } from "../protocol/audit-chain.ts";
import type { LoadedTool } from "./tools.ts";

const known = new WeakMap<LoadedTool, string>();

/**
 * SHA-256 (hex) of what a tool is allowed: its sandbox with the defaults filled in, and its credentials' rules without any value, and the files that
 * its operations give. Two
 * calls with the same hash ran under the same rules, whatever the manifest looked like.
 */
export function policyHash(tool: LoadedTool): string {
  const hash = known.get(tool) ?? hashOf(canonicalJson(allowedOf(tool)));
  known.set(tool, hash);
  return hash;
}

function allowedOf({ sandbox, credentials, operations }: LoadedTool): unknown {
  const files = [...operations.values()].map((each) => [
    each.name,
    ...each.files.map(({ text }) => text),
  ]);
  // Quantities may be fractions of a byte or millisecond, which the canonical form has no one spelling for.
  return JSON.parse(JSON.stringify({ sandbox, credentials, files }), (_, value: unknown) =>
    typeof value === "number" && !Number.isSafeInteger(value) ? String(value) : value,
  );
}
