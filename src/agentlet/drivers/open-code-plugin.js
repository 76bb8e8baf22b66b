// OpenCode loads this in zone A and gives it every event; those that tell a state go to the agentlet's report socket. It also
// holds a prompt back until the tools are connected: OpenCode does not wait for them, and its first request would lack them.
import { connect } from "node:net";
import timers from "node:timers/promises";

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
/** The agentlet takes no longer line: of a larger event its session is told and what it is, without the document. */
const MAX_LINE_BYTES = 192 * 1024;
const RECONNECT_MS = 1000;
/** The name of the server in the driver's configuration. */
const SERVER = "agentkube";
/** A server that is being connected is told as disabled, or not at all. */
const SETTLED = new Set(["connected", "failed", "needs_auth", "needs_client_registration"]);
const CONNECT_MS = 60_000;
const ANSWER_MS = 1000;

export const Agentkube = async ({ client }) => {
  // A sub-agent's session is a child: when it rests, the session that a person sees does not.
  const children = new Set();
  const tell = openReports();
  // Calls that run. Those of a sub-agent are part of the tool that it is.
  const running = new Set();
  const followTool = ({ type, tool, callID, sessionID, state }) => {
    if (type !== "tool" || children.has(sessionID)) return;
    // Only while the agentlet hears it: no state is to wait behind it.
    const say = (name) => tell(JSON.stringify({ channel: "event", name, data: { tool } }), false);
    if (state.status === "running") {
      if (!running.has(callID)) say("tool.began");
      running.add(callID);
    } else if (running.delete(callID) && running.size === 0) say("tool.ended");
  };
  return {
    "chat.message": async () => await toolsConnected(client),
    event: async ({ event }) => {
      const { type, properties } = event;
      const info = properties?.info;
      if (type.startsWith("session.") && info?.parentID) children.add(info.id);
      if (type === "message.part.updated") followTool(properties.part);
      if (!TOLD.has(type)) return;
      if (type.startsWith("session.") && children.has(properties?.sessionID)) return;
      // A call that was broken off may never be told as ended.
      if (properties?.status?.type === "idle") running.clear();
      const report = (data) => JSON.stringify({ channel: "event", name: type, data });
      const line = report(properties ?? null);
      if (Buffer.byteLength(line) <= MAX_LINE_BYTES) return tell(line);
      const { sessionID, permission } = properties;
      const short = report({ sessionID, permission });
      if (Buffer.byteLength(short) <= MAX_LINE_BYTES) tell(short);
    },
  };
};

/** The way to the agentlet, taken again after it was lost. What is told meanwhile is told then: the last line of it. */
function openReports() {
  let socket;
  let isOpen = false;
  let waiting = null;
  const open = () => {
    socket = connect("/opt/agentkube/report.sock");
    socket.on("connect", () => {
      isOpen = true;
      if (waiting !== null) socket.write(`${waiting}\n`);
      waiting = null;
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      isOpen = false;
      globalThis.setTimeout(open, RECONNECT_MS).unref?.();
    });
    socket.resume();
    socket.unref?.();
  };
  open();
  return (line, waits = true) => {
    if (isOpen) socket.write(`${line}\n`);
    else if (waits) waiting = line;
  };
}

/** Settles when the tools are there, or will not be, or take too long: a prompt without tools is better than none. */
async function toolsConnected(client) {
  let retries = 5;
  for (const until = Date.now() + CONNECT_MS; Date.now() < until; await timers.setTimeout(50)) {
    const asked = client.mcp.status().catch(() => null);
    // A request that comes too early may never be answered.
    const answer = await Promise.race([asked, timers.setTimeout(ANSWER_MS, null)]);
    const status = answer?.data?.[SERVER]?.status;
    if (status === "failed" && retries > 0) {
      // One broken connection while the tools are listed, and OpenCode goes without them.
      retries -= 1;
      await client.mcp.connect({ path: { name: SERVER } }).catch(() => null);
    } else if (SETTLED.has(status)) return;
  }
}
