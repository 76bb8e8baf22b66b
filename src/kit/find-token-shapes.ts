import { ShapeRun } from "./shape-run.ts";
import { TOKEN_SHAPES, type TokenShape } from "./token-shapes.ts";

/** How much of a text is looked at. */
const MAX_BYTES = 256 * 1024;
/** Bytes that are looked at for one kind, each as often as a beginning stands before it. */
const MAX_LOOKS = 4 * MAX_BYTES;

/**
 * Names of the kinds of tokens that a text seems to hold, each once, in the order of `TOKEN_SHAPES`. It says what to look at, not
 * what is true: an example in a manual has the same look.
 */
export function findTokenShapes(text: string): string[] {
  const bytes = Buffer.from(text.slice(0, MAX_BYTES), "utf8");
  return TOKEN_SHAPES.filter((shape) =>
    shape.prefixes.some((prefix) => holdsToken(bytes, shape, prefix)),
  ).map(({ name }) => name);
}

/** True also for a text of so many beginnings that not all can be followed: what was not looked at is not free of tokens. */
function holdsToken(bytes: Buffer, shape: TokenShape, prefix: string): boolean {
  let looks = 0;
  for (let at = bytes.indexOf(prefix); at !== -1; at = bytes.indexOf(prefix, at + 1)) {
    const before = at === 0 ? "" : String.fromCharCode(bytes[at - 1] as number);
    if (shape.standsAlone && /[\w-]/.test(before)) continue;
    const from = at + prefix.length;
    const run = new ShapeRun(shape, at, false);
    const { end, isWhole } = follow(bytes, run, from);
    if (isWhole && isToken(bytes, run, end)) return true;
    looks += end - from;
    if (looks > MAX_LOOKS) return true;
  }
  return false;
}

/** Where a run that begins at `from` ends, and whether it may be a token. */
function follow(bytes: Buffer, run: ShapeRun, from: number): { end: number; isWhole: boolean } {
  let end = from;
  for (; end < bytes.length; end += 1) {
    const step = run.take(bytes[end] as number, end);
    if (step === "none") return { end, isWhole: false };
    if (step === "ended" || run.isOverlong) break;
  }
  return { end, isWhole: run.isLongEnough && run.body !== -1 };
}

function isToken(bytes: Buffer, { shape, body }: ShapeRun, end: number): boolean {
  return shape.accepts === null || shape.accepts(bytes.toString("latin1", body, end));
}
