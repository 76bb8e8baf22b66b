// Many recorders in one process: the real recording, spool, checkpoints and shipping of each, and how late the manager has what was said.
import { join } from "node:path";
import timers from "node:timers/promises";
import { silentLog } from "../src/kit/log.ts";
import { createSigningKey } from "../src/kit/signing.ts";
import { Checkpoints } from "../src/recorder/checkpoints.ts";
import { Recording } from "../src/recorder/recording.ts";
import { Redaction } from "../src/recorder/redaction.ts";
import { shipSpool } from "../src/recorder/ship.ts";
import { openSpool } from "../src/recorder/spool.ts";
import { answer } from "./forked.ts";

export interface FleetOrder {
  url: string;
  dir: string;
  sessions: { run: string; token: string }[];
  forMs: number;
  everyMs: number;
  bytes: number;
  /** what was said this long after the start counts as of the storm */
  stormMs: number;
}

export interface FleetReport {
  latenciesMs: number[];
  /** the same, of what was said while the sessions were opening */
  stormMs: number[];
  verified: number;
  bytes: number;
}

const never = new AbortController().signal;

async function stream(
  order: FleetOrder,
  index: number,
  report: FleetReport,
  startedAt: number,
): Promise<void> {
  const session = order.sessions[index] ?? { run: "", token: "" };
  const dir = join(order.dir, session.run);
  await using spool = await openSpool({ path: join(dir, "recording.cast"), log: silentLog });
  using recording = new Recording(spool, {
    header: { cols: 120, rows: 40, timestamp: 0, title: "fleet", term: "xterm-256color" },
    recordInput: false,
    redaction: new Redaction([]),
  });
  await using checkpoints = await Checkpoints.open({
    path: spool.checkpointsPath,
    session: session.run,
    epoch: 1,
    key: createSigningKey(),
    spool,
    facts: () => ({ set: 1, ...recording.proven }),
    log: silentLog,
  });
  const waiting: { seq: number; at: number; until: number | null }[] = [];
  spool.onDurable(() => {
    for (const frame of waiting)
      if (frame.until === null && frame.seq <= recording.durable.seq)
        frame.until = spool.durableBytes;
  });
  const sealed = { done: false };
  const target = {
    manager: { url: order.url },
    session: session.run,
    token: session.token,
    epoch: 1,
  };
  const onCommitted = (bytes: number): void => {
    for (let [first] = waiting; first?.until != null && first.until <= bytes; [first] = waiting) {
      const kind = first.at - startedAt < order.stormMs ? report.stormMs : report.latenciesMs;
      kind.push(performance.now() - first.at);
      waiting.shift();
    }
  };
  const shipped = shipSpool(
    { ...target, spool, checkpoints, sealed, onCommitted, log: silentLog },
    never,
  );
  const line = Buffer.alloc(order.bytes, "a line of output that goes on\r\n");
  const end = performance.now() + order.forMs;
  let seq = 0;
  await timers.setTimeout(Math.random() * order.everyMs);
  while (performance.now() < end) {
    seq += 1;
    const at = performance.now();
    waiting.push({ seq, at, until: null });
    recording.take({
      type: "output",
      seq,
      timeUs: Math.round(at * 1000),
      offset: (seq - 1) * line.length,
      bytes: line,
    });
    await timers.setTimeout(order.everyMs);
  }
  recording.take({ type: "exit", seq: seq + 1, timeUs: Math.round(end * 1000), status: 0 });
  await spool.flush(never);
  await checkpoints.end();
  sealed.done = true;
  spool.grown.ring();
  await shipped;
  report.verified += 1;
  report.bytes += spool.durableBytes;
}

answer(async (order: FleetOrder): Promise<FleetReport> => {
  const report: FleetReport = { latenciesMs: [], stormMs: [], verified: 0, bytes: 0 };
  const startedAt = performance.now();
  await Promise.all(
    order.sessions.map(async (_, index) => await stream(order, index, report, startedAt)),
  );
  return report;
});
