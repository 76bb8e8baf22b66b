// What a run says, as it says it: its facts and events over a WebSocket, its audit by asking now and then.
import { getJson, socketUrl } from "./api.js";
import { patiently, pause } from "./connection.js";

const AUDIT_POLL_MS = 2000;

/** Follows facts and events across lost connections, until the run has ended or `signal` is aborted. */
export function followRun(run, on, signal) {
  let from = 1;
  let waitMs = 500;
  const connect = () => {
    if (signal.aborted) return;
    const socket = new WebSocket(socketUrl(`/v1/runs/${run}/follow?from=${from}`));
    const stop = () => socket.close();
    signal.addEventListener("abort", stop, { once: true });
    let isOver = false;
    socket.addEventListener("message", ({ data }) => {
      waitMs = 500;
      const message = JSON.parse(data);
      if (message.kind === "run") {
        isOver = message.info.phase === "ended";
        on.info(message.info);
      } else {
        from = message.seq + 1;
        on.event(message.event);
      }
    });
    socket.addEventListener("close", () => {
      signal.removeEventListener("abort", stop);
      if (isOver || signal.aborted) return;
      setTimeout(connect, waitMs * Math.random());
      waitMs = Math.min(waitMs * 2, 10_000);
    });
  };
  connect();
}

/** Gives the audit's records to `take`, an array at a time, until nothing follows: `isOver` is asked when there is nothing new. */
export async function followAudit(run, { take, isOver }, signal) {
  let next = 1;
  for (;;) {
    const path = `/v1/runs/${run}/audit?from=${next}`;
    const records = await patiently(() => getJson(path, signal), signal);
    if (records.length > 0) {
      next = records.at(-1).seq + 1;
      take(records);
    } else if (isOver()) return;
    await pause(AUDIT_POLL_MS, signal);
    if (signal.aborted) return;
  }
}
