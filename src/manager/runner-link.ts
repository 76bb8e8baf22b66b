import type { WebSocket } from "ws";
import { AuditMessage, type AuditAck } from "../protocol/audit.ts";
import { CloseCode } from "../protocol/recording-link.ts";
import { LinkRefusal, type LinkHandler } from "./role-link.ts";
import type { Run } from "./run.ts";
import { sendJson } from "./socket.ts";

const MAX_PENDING_BYTES = 1024 * 1024;

/** The tool-runner's side of a run: audit records to the journal. */
export function runnerLink(
  socket: WebSocket,
  run: Run,
  refuse: (error: unknown) => void,
): LinkHandler<Exclude<AuditMessage, { kind: "hello" }>> {
  return {
    role: "runner",
    schema: AuditMessage,
    async welcome() {
      const audit = await run.audit();
      await audit.flushed();
      sendJson(socket, { kind: "ack", seq: audit.lastSeq } satisfies AuditAck);
    },
    async message({ seq, record }) {
      if (record.run !== run.id)
        throw new LinkRefusal(CloseCode.badMessage, "The record is of another run");
      const audit = await run.audit();
      audit
        .append(seq, record)
        .then((isNew) => {
          if (isNew) run.noteAudit(record);
          sendJson(socket, { kind: "ack", seq } satisfies AuditAck);
        })
        .catch(refuse);
      if (audit.pendingBytes > MAX_PENDING_BYTES) await audit.flushed();
    },
    binary() {
      throw new LinkRefusal(CloseCode.badMessage, "Expected text messages only");
    },
    closed() {},
  };
}
