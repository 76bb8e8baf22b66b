import type { WebSocket } from "ws";
import { AuditMessage, type AuditRecord } from "../protocol/audit.ts";
import type { AuditAck } from "../protocol/audit-chain.ts";
import { CloseCode } from "../protocol/recording-link.ts";
import type { AuditFile } from "./audit-file.ts";
import { LinkRefusal, type LinkHandler } from "./role-link.ts";
import type { Run } from "./run.ts";
import type { RunnerReports } from "./runner-reports.ts";
import { sendJson } from "./socket.ts";

const MAX_PENDING_BYTES = 1024 * 1024;

/** The tool-runner's side of a run: audit records to the chain, and a countersignature with each acknowledgement. */
export function runnerLink(
  socket: WebSocket,
  run: Run,
  reports: RunnerReports,
  refuse: (error: unknown) => void,
): LinkHandler<Exclude<AuditMessage, { kind: "hello" }>> {
  let soon: NodeJS.Immediate | null = null;

  function acknowledge(audit: AuditFile): void {
    soon = null;
    const countersignature = audit.countersignature();
    sendJson(socket, { kind: "ack", ...audit.head, countersignature } satisfies AuditAck);
  }

  function take(audit: AuditFile, seq: number, record: AuditRecord): void {
    if (record.run !== run.id)
      throw new LinkRefusal(CloseCode.badMessage, "The record is of another run");
    audit
      .append(seq, record)
      .then((isNew) => {
        if (isNew) run.noteAudit(record);
        // Records that shared a sync share the acknowledgement and its signature.
        soon ??= setImmediate(acknowledge, audit);
      })
      .catch(refuse);
  }

  return {
    role: "runner",
    schema: AuditMessage,
    async welcome() {
      const audit = await run.audit();
      await audit.flushed();
      acknowledge(audit);
      run.onEnded(() => reports.close(run.id));
    },
    async message(message) {
      if (message.kind === "report") {
        reports.take(run.id, run.epochOf("runner"), message.report);
        return;
      }
      const { seq, record, more = [] } = message;
      const audit = await run.audit();
      // One after the other without a wait: they share a sync.
      for (const next of [{ seq, record }, ...more]) take(audit, next.seq, next.record);
      if (audit.pendingBytes > MAX_PENDING_BYTES) await audit.flushed();
    },
    binary() {
      throw new LinkRefusal(CloseCode.badMessage, "Expected text messages only");
    },
    closed() {
      if (soon !== null) clearImmediate(soon);
    },
  };
}
