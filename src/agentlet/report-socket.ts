import { once } from "node:events";
import { chmodSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import type { Socket } from "node:net";
import * as z from "zod";
import type { Log } from "../kit/log.ts";

export const REPORT_LIMITS = {
  connections: 32,
  /** one line; the helper leaves longer documents out itself */
  lineBytes: 256 * 1024,
  /** what a CLI with a busy hook may say; beyond this a line is dropped and counted */
  linesPerSecond: 200,
};

/** What a hook, a plug-in or a transcript inside zone A says of the CLI: a claim, never a fact. */
export const Report = z.strictObject({
  channel: z.enum(["hook", "event", "transcript"]),
  name: z.string().min(1).max(128),
  data: z.unknown(),
});
export type Report = z.infer<typeof Report>;

export interface ReportSocket extends AsyncDisposable {
  /** the path to bind into zone A */
  readonly path: string;
  /** lines that were no report, too long or too many */
  readonly dropped: number;
}

/**
 * Listens where zone A reports: lines of JSON on a unix socket that is bound into it. A connection is closed once its last line was
 * handed to `onReport`, which is what a hook waits for. Whoever is in zone A may say anything here, at any rate.
 */
export async function openReportSocket(
  path: string,
  onReport: (report: Report) => void,
  log: Log,
): Promise<ReportSocket> {
  const sockets = new Set<Socket>();
  let dropped = 0;
  let second = 0;
  let lines = 0;
  const drop = (why: string) => {
    dropped += 1;
    if (dropped === 1) log.warn({ why }, "a report of zone A was dropped");
  };
  const take = (line: Buffer) => {
    const now = Math.floor(performance.now() / 1000);
    lines = now === second ? lines + 1 : 1;
    second = now;
    if (lines > REPORT_LIMITS.linesPerSecond) return drop("too many lines in a second");
    const report = reportOf(line);
    if (report === null) return drop("not a report");
    onReport(report);
  };
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy()).on("close", () => sockets.delete(socket));
    socket.on("end", () => socket.end());
    let held: Buffer[] = [];
    let heldBytes = 0;
    socket.on("data", (chunk: Buffer) => {
      let rest = chunk;
      for (let end = rest.indexOf(0x0a); end !== -1; end = rest.indexOf(0x0a)) {
        take(Buffer.concat([...held, rest.subarray(0, end)]));
        held = [];
        heldBytes = 0;
        rest = rest.subarray(end + 1);
      }
      heldBytes += rest.length;
      if (heldBytes > REPORT_LIMITS.lineBytes) {
        drop("a line without an end");
        socket.destroy();
      } else if (rest.length > 0) held.push(rest);
    });
  });
  server.maxConnections = REPORT_LIMITS.connections;
  rmSync(path, { force: true });
  server.listen(path);
  await once(server, "listening");
  // Zone A's user is another one when we are root; in its mount this file then belongs to that user.
  chmodSync(path, 0o600);
  return {
    path,
    get dropped() {
      return dropped;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      if (!server.listening) return;
      server.close();
      await once(server, "close");
    },
  };
}

function reportOf(line: Buffer): Report | null {
  if (line.length > REPORT_LIMITS.lineBytes) return null;
  try {
    return Report.safeParse(JSON.parse(line.toString("utf8"))).data ?? null;
  } catch {
    return null;
  }
}
