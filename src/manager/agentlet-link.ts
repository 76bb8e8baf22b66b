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
      if (socket.readyState === socket.OPEN) run.relay.connect(socket);
    },
    async message(message) {
      if ("attach" in message) return run.relay.fromAgentlet(message);
      if (message.kind !== "event") return;
      const { seq, event } = message;
      const events = await run.events();
      // Not awaited one by one: events that arrive together share one sync, in order.
      events
        .append(seq, event)
        .then((isNew) => {
          if (isNew) run.noteEvent(seq, event);
          sendJson(socket, { kind: "event_ack", seq } satisfies AgentletCommand);
        })
        .catch(refuse);
      if (events.pendingBytes > MAX_PENDING_BYTES) await events.flushed();
    },
    binary(bytes) {
      if (!run.relay.output(bytes))
        throw new LinkRefusal(CloseCode.badMessage, "Expected attach id, offset and bytes");
    },
    closed() {
      run.relay.disconnect(socket);
    },
  };
}
