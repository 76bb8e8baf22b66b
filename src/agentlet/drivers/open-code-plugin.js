// OpenCode loads this in zone A and gives it every event; those that tell a state go to the agentlet's report socket.
import { connect } from "node:net";

const TOLD = new Set([
  "session.status",
  "session.idle",
  "session.error",
  "permission.asked",
  "permission.replied",
  "question.asked",
  "question.replied",
  "question.rejected",
]);
const MAX_LINE = 128 * 1024;

export const Agentkube = async () => {
  // A sub-agent's session is a child: when it rests, the session that a person sees does not.
  const children = new Set();
  const socket = connect("/opt/agentkube/report.sock");
  socket.on("error", () => undefined);
  socket.unref?.();
  return {
    event: async ({ event }) => {
      const { type, properties } = event;
      const info = properties?.info;
      if (type.startsWith("session.") && info?.parentID) children.add(info.id);
      if (!TOLD.has(type)) return;
      if (type.startsWith("session.") && children.has(properties?.sessionID)) return;
      const line = JSON.stringify({ channel: "event", name: type, data: properties ?? null });
      if (line.length <= MAX_LINE && !socket.destroyed) socket.write(`${line}\n`);
    },
  };
};
