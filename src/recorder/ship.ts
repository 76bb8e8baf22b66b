import { Backoff } from "../kit/backoff.ts";
import type { Log } from "../kit/log.ts";
import {
  APPEND_HEAD_BYTES,
  APPEND_WINDOW_BYTES,
  MAX_APPEND_BYTES,
  writeAppendHead,
} from "../protocol/recording-link.ts";
import type { ManagerAddress } from "../protocol/manager-socket.ts";
import type { SignedCheckpoint } from "../protocol/recording-proof.ts";
import { PROTOCOL } from "../protocol/version.ts";
import { FinalRefusalError, ManagerBusyError, ManagerConnection } from "./manager-connection.ts";
import type { Checkpoints } from "./checkpoints.ts";
import type { Spool } from "./spool.ts";

/**
 * Bytes in flight that the manager does not commit this long, or no verdict: the connection is made anew. It is looked at each time that the
 * manager says something, every 5 s at the least, so a path that is dead one way is noticed within 15 s too.
 */
const STALL_MS = 8_000;

export interface ShipOptions {
  manager: ManagerAddress;
  /** the run, or one of its shells */
  session: string;
  token: string;
  epoch: number;
  spool: Spool;
  checkpoints: Checkpoints;
  /** Settles when the spool is whole: nothing will be added. */
  sealed: { readonly done: boolean };
  /** told each time the manager has more; for measurements */
  onCommitted?: (bytes: number) => void;
  /** waits between connections; shorter in tests */
  backoff?: { minMs: number; maxMs: number };
  log: Log;
}

const BACKOFF = { minMs: 100, maxMs: 5000 };

/**
 * Ships the spool to the manager until it has verified the whole, across any number of lost connections: always from the
 * offset that the manager has committed, only durable bytes, at most a window ahead. Throws `FinalRefusalError` when the
 * manager will never take it, the spool's failure when it cannot be read, and the signal's reason when it is aborted.
 */
export async function shipSpool(options: ShipOptions, signal: AbortSignal): Promise<void> {
  const { spool, log } = options;
  const backoff = new Backoff(options.backoff ?? BACKOFF);
  const wake = spool.grown;
  const onAbort = (): void => wake.ring();
  signal.addEventListener("abort", onAbort);
  let lost = false;
  let known = -1;
  /** what a manager that is there, and busy, asked for */
  let retryAfterMs: number | null = null;
  try {
    for (;;) {
      try {
        using connection = await connect(options, signal);
        if (lost) log.info({ committed: connection.committed }, "manager is back");
        lost = false;
        await shipOver(
          connection,
          options,
          (committed) => {
            if (committed > known) backoff.startOver();
            known = committed;
            options.onCommitted?.(committed);
          },
          signal,
        );
        return;
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (error instanceof FinalRefusalError || error === spool.failure) throw error;
        if (!lost) log.warn({ err: error, committed: known }, "manager is away, spooling");
        lost = true;
        retryAfterMs = error instanceof ManagerBusyError ? error.retryAfterMs : null;
      }
      if (retryAfterMs === null) await backoff.wait(signal);
      else await backoff.within(retryAfterMs, signal);
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function connect(options: ShipOptions, signal: AbortSignal): Promise<ManagerConnection> {
  const { manager, session, token, epoch, spool } = options;
  const bytes = spool.durableBytes;
  return ManagerConnection.open(
    {
      manager,
      session,
      token,
      hello: { kind: "hello", protocol: PROTOCOL, epoch, bytes },
      changed: spool.grown,
    },
    signal,
  );
}

/** Ships over one connection. Returns when the manager has verified; throws when the connection ended before. */
async function shipOver(
  connection: ManagerConnection,
  options: ShipOptions,
  onCommitted: (bytes: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const { spool, checkpoints, sealed, log } = options;
  let sent = connection.committed ?? 0;
  let committed = sent;
  let endSent = false;
  /** checkpoints below this number were sent on this connection */
  let stated: number | null = null;
  let progressAt = performance.now();
  // Memory of messages that were sent; the window bounds how many there are.
  const pieces: Buffer[] = [];
  onCommitted(committed);
  for (;;) {
    // The bell first: what rings while a piece is read must not be missed.
    const { next } = spool.grown;
    signal.throwIfAborted();
    if (connection.failure !== null) throw connection.failure;
    if (connection.verdict !== null) {
      checkVerdict(connection.verdict, spool);
      return;
    }
    if ((connection.committed ?? 0) > committed) {
      committed = connection.committed ?? 0;
      progressAt = performance.now();
      onCommitted(committed);
    }
    if (committed > spool.durableBytes) {
      throw new FinalRefusalError(
        "recording_refused",
        `Manager has ${committed} bytes of the recording, the spool only ${spool.durableBytes}`,
        { fix: "the spool was lost or changed; keep both files and compare them" },
      );
    }
    if (connection.proven !== null) {
      if (stated === null) await checkpoints.from(connection.proven);
      else checkpoints.taken(connection.proven);
      stated = Math.max(stated ?? 0, connection.proven);
    }
    const due: SignedCheckpoint | null = stated === null ? null : checkpoints.at(stated);
    if (due !== null && due.checkpoint.bytes <= sent) {
      connection.say({ kind: "checkpoint", ...due });
      stated = due.checkpoint.n + 1;
      continue;
    }
    const length = Math.min(
      MAX_APPEND_BYTES,
      spool.durableBytes - sent,
      committed + APPEND_WINDOW_BYTES - sent,
    );
    if (length > 0) {
      if (sent === committed) progressAt = performance.now();
      const memory = pieces.pop() ?? Buffer.allocUnsafeSlow(APPEND_HEAD_BYTES + MAX_APPEND_BYTES);
      const message = memory.subarray(0, APPEND_HEAD_BYTES + length);
      await spool.read(message, APPEND_HEAD_BYTES, sent);
      writeAppendHead(message, sent);
      connection.append(message, () => pieces.push(memory));
      sent += length;
      continue;
    }
    if (sealed.done && !endSent && sent === spool.durableBytes) {
      connection.say({ kind: "end", bytes: sent, sha256: spool.sha256() });
      endSent = true;
      progressAt = performance.now();
      log.debug({ bytes: sent }, "recording sent, waiting for the verdict");
    }
    if (sent > committed && performance.now() - progressAt > STALL_MS)
      throw new Error(
        `Manager committed nothing of ${sent - committed} bytes for ${STALL_MS / 1000} s`,
      );
    if (endSent && performance.now() - progressAt > STALL_MS)
      throw new Error(`Manager gave no verdict for ${STALL_MS / 1000} s`);
    await next;
  }
}

function checkVerdict(verdict: NonNullable<ManagerConnection["verdict"]>, spool: Spool): void {
  const { kind, bytes, sha256 } = verdict;
  if (kind === "verified" && bytes === spool.durableBytes && sha256 === spool.sha256()) return;
  throw new FinalRefusalError(
    "recording_mismatch",
    `Manager holds other bytes than the spool: ${bytes} bytes with SHA-256 ${sha256}, expected ${spool.durableBytes} with ${spool.sha256()}`,
    { fix: "the spool is kept; compare both files" },
  );
}
