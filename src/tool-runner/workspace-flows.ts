import type { CallId } from "../protocol/ids.ts";
import type { WorkspaceFlow } from "./tool-runner.ts";
import type { MergeChange } from "./workspace-merge.ts";
import type { Tree } from "./workspace-copy.ts";

/** Files that one record names; the rest is counted. */
const LISTED = 24;
const PATH_CHARACTERS = 256;
/** Contents whose origin is known; the oldest are forgotten first. */
const REMEMBERED = 20_000;

/**
 * What calls carry to one another through the workspace: which call brought a content there, and which later call was given it in its
 * private copy. By content, so that a file that was moved or copied meanwhile is found as well.
 */
export class WorkspaceFlows {
  readonly #broughtBy = new Map<string, CallId>();

  /** The files of a copy that earlier calls brought; null when there are none. */
  given({ files }: Tree): WorkspaceFlow["given"] | undefined {
    const given = [...files]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([path, { hash }]) => {
        const from = this.#broughtBy.get(hash);
        return from === undefined ? [] : [{ path: shown(path), sha256: hash, from }];
      });
    return given.length === 0 ? undefined : { files: given.slice(0, LISTED), count: given.length };
  }

  /** Notes what a call brought into the workspace. */
  brought(call: CallId, changes: readonly MergeChange[]): WorkspaceFlow["brought"] | undefined {
    for (const { own } of changes) {
      if (own === null) continue;
      this.#broughtBy.delete(own);
      this.#broughtBy.set(own, call);
    }
    for (const [hash] of this.#broughtBy) {
      if (this.#broughtBy.size <= REMEMBERED) break;
      this.#broughtBy.delete(hash);
    }
    const brought = changes.map(({ path, own }) => ({ path: shown(path), sha256: own }));
    return brought.length === 0
      ? undefined
      : { files: brought.slice(0, LISTED), count: brought.length };
  }
}

/** Names are bytes and a tool's text; what they hold of a secret keeps them from being brought at all. */
function shown(path: string): string {
  return Buffer.from(path, "latin1").toString("utf8").slice(0, PATH_CHARACTERS);
}
