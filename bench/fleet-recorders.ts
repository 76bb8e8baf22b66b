// Many recorders in one process: the real recording, spool, checkpoints and shipping of each, and how late the manager has what was said.
import { join } from "node:path";
import timers from "node:timers/promises";
import { createSigningKey } from "../src/kit/signing.ts";
import { ShippedSession } from "../test/helpers/shipped-session.ts";
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

async function stream(
  order: FleetOrder,
  { run, token }: FleetOrder["sessions"][number],
  report: FleetReport,
  startedAt: number,
): Promise<void> {
  await using session = await ShippedSession.open({
    url: order.url,
    run,
    token,
    key: createSigningKey(),
    path: join(order.dir, run, "recording.cast"),
    onKept: (writtenAt) => {
      const kind = writtenAt - startedAt < order.stormMs ? report.stormMs : report.latenciesMs;
      kind.push(performance.now() - writtenAt);
    },
  });
  session.ship();
  const line = Buffer.alloc(order.bytes, "a line of output that goes on\r\n");
  const end = performance.now() + order.forMs;
  await timers.setTimeout(Math.random() * order.everyMs);
  for (; performance.now() < end; await timers.setTimeout(order.everyMs)) session.write(line);
  await session.end();
  report.verified += 1;
  report.bytes += session.spool.durableBytes;
}

answer(async (order: FleetOrder): Promise<FleetReport> => {
  const report: FleetReport = { latenciesMs: [], stormMs: [], verified: 0, bytes: 0 };
  const startedAt = performance.now();
  await Promise.all(
    order.sessions.map(async (session) => await stream(order, session, report, startedAt)),
  );
  return report;
});
