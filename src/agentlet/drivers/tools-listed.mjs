// A hook of a CLI that does not wait for its MCP servers, run in zone A before the first request: waits until the tools were listed,
// 30 s at most. Silent, and always exits with 0: a prompt without tools is better than none.
import timers from "node:timers/promises";

const { AGENTKUBE_GATEWAY: gateway, AGENTKUBE_AGENT_TOKEN: token } = process.env;
const WAIT_MS = 30_000;
const LOOK_MS = 50;
const ANSWER_MS = 2000;
/** The list was sent; the CLI has to read it. */
const READ_MS = 100;

async function isListed() {
  try {
    const headers = { Authorization: `Bearer ${token}` };
    const signal = AbortSignal.timeout(ANSWER_MS);
    const answer = await fetch(`${gateway}/v1/mcp`, { headers, signal });
    return (await answer.json()).listed === true;
  } catch {
    return false;
  }
}

for (const until = Date.now() + WAIT_MS; Date.now() < until; await timers.setTimeout(LOOK_MS))
  if (await isListed()) {
    await timers.setTimeout(READ_MS);
    break;
  }
