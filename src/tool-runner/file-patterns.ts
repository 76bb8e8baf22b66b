/** One part of a pattern: a name, or the names that fit. Names are bytes as latin1, as in `OpenedDirectory`. */
export type PatternPart = { name: string } | { fits: (name: string) => boolean };

/** Where result files lie, relative to the directory that the tool works in. */
export interface FilePattern {
  readonly text: string;
  readonly parts: readonly PatternPart[];
}

const MAX_PARTS = 16;

/** Reads a pattern of an operation's `files`. Throws an `Error` that says what is wrong with it. */
export function parseFilePattern(text: string): FilePattern {
  const names = text.split("/");
  if (text.startsWith("/")) throw new Error("expected a path relative to the working directory");
  if (names.length > MAX_PARTS) throw new Error(`expected at most ${MAX_PARTS} parts`);
  for (const name of names) {
    if (name === "" || name === "." || name === "..")
      throw new Error('expected names joined by single "/", none of them "." or ".."');
    if (name.includes("**")) throw new Error("* stands for one name; ** is not known");
    if (/[\0-\x1f\x7f]/.test(name)) throw new Error("a name cannot hold control characters");
  }
  return { text, parts: names.map(partOf) };
}

function partOf(name: string): PatternPart {
  const bytes = Buffer.from(name).toString("latin1");
  return /[*?]/.test(bytes) ? { fits: (given) => fits(bytes, given) } : { name: bytes };
}

/**
 * `*` is any number of bytes, `?` is one; a name that begins with a dot has to be asked for by a dot. Takes at most as many steps as
 * pattern and name have bytes, multiplied: the names are chosen by a tool.
 */
function fits(pattern: string, name: string): boolean {
  if (name.startsWith(".") && !pattern.startsWith(".")) return false;
  let [at, star, from] = [0, -1, 0];
  for (let index = 0; index < name.length;) {
    if (at < pattern.length && pattern[at] === "*") {
      star = at++;
      from = index;
    } else if (at < pattern.length && (pattern[at] === "?" || pattern[at] === name[index])) {
      at += 1;
      index += 1;
    } else if (star === -1) {
      return false;
    } else {
      // The last * takes one byte more.
      at = star + 1;
      index = from += 1;
    }
  }
  return /^\**$/.test(pattern.slice(at));
}
