import type { WebSocket } from "ws";
import { AgentletMessage, type AgentletCommand } from "../protocol/agentlet-link.ts";
import { CloseCode } from "../protocol/recording-link.ts";
import { LinkRefusal, type LinkHandler } from "./role-link.ts";
import type { Run } from "./run.ts";
import { sendJson } from "./socket.ts";

/** Above this many bytes of events on their way to disk, the agentlet waits. */
const MAX_PENDING_BYTES = 1024 * 1024;

/** The agentlet's side of a run: events up to the journal, terminal bytes to people, commands down. */
export function agentletLink(
  socket: WebSocket,
  run: Run,
  refuse: (error: unknown) => void,
): LinkHandler<Exclude<AgentletMessage, { kind: "hello" }>> {
  return {
    role: "agentlet",
    schema: AgentletMessage,
    async welcome() {
      const events = await run.events();
      await events.flushed();
      sendJson(socket, { kind: "event_ack", seq: events.lastSeq } satisfies AgentletCommand);
      run.setPhase("running");
      if (socket.readyState === socket.OPEN) for (const relay of run.relays) relay.connect(socket);
    },
    async message(message) {
      if (message.kind === "attach_taken") return run.relay.taken(message.attach, message.bytes);
      if ("attach" in message) return run.relay.fromAgentlet(message);
      if ("grant_id" in message) return await fromShell(run, message);
      const { seq, event } = message;
      const events = await run.events();
      // Not awaited one by one: events that arrive together share one sync, in order.
      const { eventBudget: budget } = run;
      const kept = seq > events.lastSeq ? budget.keep(event, events.bytes) : event;
      events
        .append(seq, kept)
        .then((isNew) => {
          if (isNew && kept !== null) run.noteEvent(seq, kept);
          sendJson(socket, { kind: "event_ack", seq } satisfies AgentletCommand);
        })
        .catch((error: unknown) => {
          budget.forget();
          refuse(error);
        });
      if (events.pendingBytes > MAX_PENDING_BYTES) await events.flushed();
    },
    binary(bytes) {
      const shell = run.shells.get(bytes.subarray(0, 8).toString("hex"));
      if (!(shell?.relay ?? run.relay).output(bytes))
        throw new LinkRefusal(CloseCode.badMessage, "Expected attach id, offset and bytes");
    },
    closed() {
      for (const relay of run.relays) relay.disconnect(socket);
    },
  };
}

/** A shell that was opened is repainted like an attach; one that is closed has its window told. */
async function fromShell(
  run: Run,
  message: Extract<AgentletMessage, { grant_id: string }>,
): Promise<void> {
  const shell = run.shells.get(message.grant_id);
  if (shell === undefined) return;
  if (message.kind === "shell_close")
    return await shell.closedBy(message.reason, message.exitCode ?? null);
  if (message.kind === "shell_taken") return shell.relay.taken(message.grant_id, message.bytes);
  const { offset, cols, rows, data } = message;
  shell.opened({ offset, cols, rows, data });
}
