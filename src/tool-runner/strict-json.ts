import { PlatformError } from "../kit/platform-error.ts";

const MAX_DEPTH = 128;

/**
 * Parses JSON that means the same to every program that reads it: no key twice in one object, no key `__proto__`, no nesting
 * beyond 128. Throws `PlatformError` `bad_json`, without the text.
 */
export function parseStrictJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new PlatformError(
      "bad_json",
      `Expected JSON in UTF-8, got ${text.length} characters that are not`,
    );
  }
  checkKeys(text);
  return value;
}

/** Walks a text that is JSON, by its tokens. */
function checkKeys(text: string): void {
  /** the keys of each open object; null for an array */
  const open: (Set<string> | null)[] = [];
  let wantsKey = false;
  for (let at = 0; at < text.length; at += 1) {
    switch (text.charAt(at)) {
      case '"': {
        const end = endOfString(text, at);
        if (wantsKey) addKey(open.at(-1) ?? null, text.slice(at, end + 1));
        wantsKey = false;
        at = end;
        break;
      }
      case "{":
      case "[":
        open.push(text.charAt(at) === "{" ? new Set() : null);
        wantsKey = text.charAt(at) === "{";
        if (open.length > MAX_DEPTH)
          throw new PlatformError(
            "bad_json",
            `Expected nesting of at most ${MAX_DEPTH} levels, got more`,
          );
        break;
      case "}":
      case "]":
        open.pop();
        wantsKey = false;
        break;
      case ",":
        wantsKey = open.at(-1) instanceof Set;
        break;
      default:
        break;
    }
  }
}

function endOfString(text: string, from: number): number {
  let at = from + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at;
}

function addKey(keys: Set<string> | null, quoted: string): void {
  const key = JSON.parse(quoted) as string;
  const shown = JSON.stringify(key.slice(0, 100));
  if (key === "__proto__") throw new PlatformError("bad_json", `Expected no key ${shown}, got one`);
  if (keys?.has(key) === true)
    throw new PlatformError("bad_json", `Expected each key of an object once, got ${shown} twice`);
  keys?.add(key);
}
