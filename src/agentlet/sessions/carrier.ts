import timers from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Sandbox } from "../../kit/sandbox.ts";
import { KEPT_SESSION_LIMITS } from "../../protocol/kept-session.ts";
import { HOME } from "../drivers/driver.ts";
import { PtySession } from "../pty-session.ts";

/** The program that carries a session's files out of zone A and into it, and where the zone finds it. */
export const carrierSource = fileURLToPath(new URL("session-files.mjs", import.meta.url));
export const CARRIER_IN_ZONE = "/opt/agentkube/session-files.mjs";

/** Keeping happens between the program's end and the run's. */
const LIMIT_MS = 10_000;
const SIZE = { cols: 80, rows: 24 };
/** Base64 takes 4 bytes for 3, and a file's name some more. */
const MAX_SAID_BYTES = KEPT_SESSION_LIMITS.bytes * 1.5 + KEPT_SESSION_LIMITS.files * 8192;

/** What the carrier needs of zone A. */
export interface CarrierZone {
  sandbox: Pick<Sandbox, "start">;
  /** the node program inside */
  node: string;
}

export interface Errand {
  words: readonly string[];
  env?: Record<string, string>;
  /** gets each line before the last */
  take: (line: string) => void;
}

/**
 * Runs the carrier in zone A. Each line before its `done` goes to `take`; the first that `take` throws at, a `refused`, and an end
 * without `done` are thrown. What is said is a claim: whoever is in zone A may write on this terminal too.
 */
export async function carry(
  { sandbox, node }: CarrierZone,
  { words, env = {}, take }: Errand,
): Promise<void> {
  const program = await sandbox.start({
    argv: [node, "--no-warnings", CARRIER_IN_ZONE, ...words],
    cwd: "/",
    env: { HOME, PATH: "/usr/bin:/bin", ...env },
    ...SIZE,
  });
  const lines = new CarrierLines(take);
  const pty = new PtySession({
    program,
    size: SIZE,
    onOutput: (bytes) => lines.push(bytes),
    onRefusedInput: () => undefined,
  });
  const over = new AbortController();
  const late = timers
    .setTimeout(LIMIT_MS, "late" as const, { signal: over.signal })
    .catch(() => "late" as const);
  const end = await Promise.race([pty.ended, late]);
  over.abort();
  if (end === "late") throw new Error(`it took longer than ${LIMIT_MS} ms`);
  lines.end();
}

/** The carrier's words, up to its last one. */
class CarrierLines {
  readonly #take: (line: string) => void;
  #said = 0;
  #rest = "";
  #problem: Error | null = null;
  #isDone = false;

  constructor(take: (line: string) => void) {
    this.#take = take;
  }

  push(bytes: Buffer): void {
    if (this.#isOver) return;
    this.#said += bytes.length;
    const [first = "", ...rest] = bytes.toString("latin1").split("\n");
    this.#rest += first;
    for (const next of rest) {
      this.#line(this.#rest.trimEnd());
      this.#rest = next;
    }
    if (this.#said > MAX_SAID_BYTES) this.#problem ??= new Error("it says more than is kept");
  }

  /** Throws what went wrong; nothing did when it said `done`. */
  end(): void {
    if (this.#problem !== null) throw this.#problem;
    if (!this.#isDone) throw new Error("it ended before it was done");
  }

  get #isOver(): boolean {
    return this.#isDone || this.#problem !== null;
  }

  #line(line: string): void {
    if (this.#isOver) return;
    if (line === "done") this.#isDone = true;
    else if (line.startsWith("refused ")) this.#problem = new Error(line.slice("refused ".length));
    else
      try {
        this.#take(line);
      } catch (error) {
        this.#problem = error instanceof Error ? error : new Error(String(error));
      }
  }
}
