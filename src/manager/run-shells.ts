import { PlatformError } from "../kit/platform-error.ts";
import { createGrantId, type GrantId, type RunId } from "../protocol/ids.ts";
import type { ShellInfo } from "../protocol/manager-api.ts";
import type { AttachRelay } from "./attach-relay.ts";
import { durableSizeOf } from "./durable-file.ts";
import type { RecordingProofs } from "./recording-proofs.ts";
import type { RunStore } from "./run-store.ts";
import { Shell, shellInfoOf } from "./shell.ts";

/** Shells granted over the life of a run; their records stay. */
const MAX_SHELLS = 256;

/** What the shells of a run need of it. */
export interface ShellOwner {
  readonly id: RunId;
  readonly isLive: boolean;
  /** the run has ended, or is about to */
  readonly isEnding: boolean;
  /** the agentlet's window, over which shells are opened */
  readonly relay: AttachRelay;
  openProofs(session: string, path: string): Promise<RecordingProofs>;
}

/** The shells that were granted beside an agent, open or over. */
export class RunShells implements Iterable<Shell> {
  readonly #owner: ShellOwner;
  readonly #store: RunStore;
  readonly #shells = new Map<GrantId, Shell>();

  constructor(owner: ShellOwner, store: RunStore) {
    this.#owner = owner;
    this.#store = store;
  }

  get(grant: GrantId): Shell | undefined {
    return this.#shells.get(grant);
  }

  [Symbol.iterator](): Iterator<Shell> {
    return this.#shells.values();
  }

  /** Takes up the shells that the store knows; those of a run that has ended are over. */
  async load(): Promise<void> {
    for (const info of await this.#store.loadShells(this.#owner.id)) {
      const shell = this.#add(info);
      if (!this.#owner.isLive) await shell.end("the run is over");
      else if (shell.isLive) shell.setCommittedBytes(await durableSizeOf(shell.recordingPath));
    }
  }

  /** Grants one shell. It is opened by the first window that connects to it. Throws `run_ended` or `too_many`. */
  async grant(facts: Pick<ShellInfo, "terminal" | "argv" | "by">): Promise<Shell> {
    const { id, relay, isEnding } = this.#owner;
    if (isEnding)
      throw new PlatformError("run_ended", `Run "${id}" has ended; no shell can be opened`, {
        fix: "start the run again",
      });
    if (this.#shells.size >= MAX_SHELLS)
      throw new PlatformError("too_many", `Run "${id}" has had ${MAX_SHELLS} shells`, {
        fix: "use one that is open, or attach to the agent's own terminal",
      });
    const shell = this.#add(shellInfoOf(id, createGrantId(), facts));
    await shell.save();
    shell.relay.connectTo(relay);
    return shell;
  }

  async end(): Promise<void> {
    for (const shell of this) {
      shell.links.recorder?.close(1000, "Run ended");
      await shell.end("the run is over");
    }
  }

  async closeFiles(): Promise<void> {
    for (const shell of this) await shell.closeFiles();
  }

  #add(info: ShellInfo): Shell {
    const shell = new Shell(
      info,
      this.#store,
      async (session, path) => await this.#owner.openProofs(session, path),
    );
    this.#shells.set(shell.grant, shell);
    return shell;
  }
}
