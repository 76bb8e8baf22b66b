import { ShapeRun } from "./shape-run.ts";
import { TOKEN_SHAPES, type TokenShape } from "./token-shapes.ts";

/** How much of a text is looked at. */
const MAX_BYTES = 256 * 1024;

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

function holdsToken(bytes: Buffer, shape: TokenShape, prefix: string): boolean {
  for (let at = bytes.indexOf(prefix); at !== -1; at = bytes.indexOf(prefix, at + 1)) {
    const before = at === 0 ? "" : String.fromCharCode(bytes[at - 1] as number);
    if (shape.standsAlone && /[\w-]/.test(before)) continue;
    if (isToken(bytes, new ShapeRun(shape, at, false), at + prefix.length)) return true;
  }
  return false;
}

function isToken(bytes: Buffer, run: ShapeRun, from: number): boolean {
  const { shape } = run;
  let end = from;
  for (; end < bytes.length; end += 1) {
    const step = run.take(bytes[end] as number, end);
    if (step === "none") return false;
    if (step === "ended" || run.isOverlong) break;
  }
  if (!run.isLongEnough || run.body === -1) return false;
  return shape.accepts === null || shape.accepts(bytes.toString("latin1", run.body, end));
}
