// What a scripted model does next: the prompt is the script. See fake-model.ts for the directives.

/** A request of any of the four wires, as far as the script needs it. */
export interface NeutralRequest {
  model: string;
  stream: boolean;
  tools: readonly OfferedTool[];
  turns: readonly { kind: "user" | "result" | "other"; text: string }[];
}

export interface OfferedTool {
  name: string;
  /** OpenAI Responses: the group it was offered in, and `custom` for a tool that takes plain text */
  namespace?: string;
  type?: string;
}

export type Plan =
  | { kind: "status"; status: number }
  | { kind: "tool"; tool: OfferedTool; input: unknown }
  | { kind: "text"; text: string; slowMs: number; stall: boolean };

type Directive =
  | { op: "tool"; name: string; input: unknown }
  | { op: "say" | "slow" | "stall" | "status"; word: string };

/** What the script wants next, given the results that already came. */
export function planOf({ turns, tools }: NeutralRequest): Plan {
  const at = turns.findLastIndex(
    (turn) => turn.kind === "user" && directivesOf(turn.text).length > 0,
  );
  const script = at < 0 ? [] : directivesOf(turns[at]?.text ?? "");
  const results = turns.slice(at + 1).filter((turn) => turn.kind === "result");
  const wordOf = (op: string): string | undefined => {
    const found = script.find((directive) => directive.op === op);
    return found !== undefined && found.op !== "tool" ? found.word : undefined;
  };
  const status = wordOf("status");
  if (status !== undefined) return { kind: "status", status: Number(status) };
  const next = script.filter((directive) => directive.op === "tool")[results.length];
  if (tools.length > 0 && next !== undefined) {
    const tail = next.name.startsWith("*") ? next.name.slice(1) : null;
    const name = tail ?? next.name;
    const tool = tools.find((each) =>
      tail === null ? each.name === name : each.name.endsWith(tail),
    );
    return { kind: "tool", tool: tool ?? { name }, input: next.input };
  }
  const said =
    results.length > 0 ? `Tool said: ${results.at(-1)?.text ?? ""}` : "Hello from the fake model.";
  return {
    kind: "text",
    text: wordOf("say")?.replaceAll("⏎", "\n") ?? said,
    slowMs: Number(wordOf("slow") ?? 0),
    stall: wordOf("stall") !== undefined,
  };
}

/** The text of any shape of content that the wires know. */
export function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.map((part: unknown) => textOf(part)).join("\n");
  if (typeof value !== "object" || value === null) return "";
  const { text, content, output } = value as Record<string, unknown>;
  return textOf(text ?? content ?? output ?? "");
}

/** The arguments of a tool may hold "]]" themselves, so the end is the first one that leaves valid JSON. */
function directivesOf(text: string): Directive[] {
  const found: Directive[] = [];
  const opening = /\[\[(say|tool|slow|stall|status)\b\s*/g;
  for (let match = opening.exec(text); match !== null; match = opening.exec(text)) {
    const op = match[1] as Directive["op"];
    const rest = text.slice(opening.lastIndex);
    for (let end = rest.indexOf("]]"); end >= 0; end = rest.indexOf("]]", end + 1)) {
      const words = rest.slice(0, end).trim();
      if (op !== "tool") {
        found.push({ op, word: words });
        break;
      }
      const [, name = "", json = ""] = /^([\w.*:/-]+)\s*([\s\S]*)$/.exec(words) ?? [];
      const input = tryJson(json === "" ? "{}" : json);
      if (name === "" || input === undefined) continue;
      found.push({ op, name, input });
      break;
    }
  }
  return found;
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
