import type { Log } from "../kit/log.ts";
import type { SigningKey } from "../kit/signing.ts";
import type { RecorderBoot, RunSpec } from "../protocol/run-spec.ts";
import type { Redaction } from "./redaction.ts";
import type { Checkpoints } from "./checkpoints.ts";
import { shipSpool } from "./ship.ts";
import type { Spool } from "./spool.ts";

/** What every session of a recorder ships with. */
export interface ShipContext {
  spec: RunSpec;
  boot: RecorderBoot;
  log: Log;
  redaction: Redaction;
  /** signs the checkpoints */
  key: SigningKey;
}

/** Ships one session until the manager has verified it; says whether it has. Never rejects: what is not shipped is kept. */
export async function shipSession(
  { spec, boot, log }: Omit<ShipContext, "redaction" | "key">,
  {
    session,
    spool,
    checkpoints,
    sealed,
  }: {
    session: string;
    spool: Spool;
    checkpoints: Checkpoints;
    sealed: { readonly done: boolean };
  },
  signal: AbortSignal,
): Promise<boolean> {
  const target = { manager: spec.manager, session, token: boot.recorderToken, epoch: spec.epoch };
  try {
    await shipSpool({ ...target, spool, checkpoints, sealed, log }, signal);
    return true;
  } catch (error) {
    log.error({ err: error, spool: spec.spoolDir }, "recording is not shipped, the spool is kept");
    return false;
  }
}
