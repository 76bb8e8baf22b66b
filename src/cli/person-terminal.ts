import { ViewerFilter } from "../kit/viewer-filter.ts";
import type { TerminalOutput } from "./output.ts";

/** Output of a program as `target` may have it: a file or a pipe every byte, a person's terminal what is fit for one. */
export async function* fitFor(
  target: TerminalOutput,
  source: AsyncIterable<Buffer | string>,
): AsyncGenerator<Buffer | string> {
  if (target.isTTY !== true) {
    yield* source;
    return;
  }
  const filter = new ViewerFilter();
  for await (const piece of source) {
    const bytes = Buffer.from(piece);
    filter.push(bytes);
    yield bytes;
  }
}
