import { once } from "node:events";
import { chmodSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import type { Socket } from "node:net";
import * as z from "zod";
import { isTooDeep } from "../kit/json-nesting.ts";
import { LineSplitter } from "../kit/line-splitter.ts";
import type { Log } from "../kit/log.ts";

export const REPORT_LIMITS = {
  connections: 32,
  /** one line; the helper leaves longer documents out itself */
  lineBytes: 256 * 1024,
  /** what a CLI with a busy hook may say; beyond this a line is dropped and counted */
  linesPerSecond: 200,
  /** unfinished lines of all connections together */
  heldBytes: 2 * 1024 * 1024,
  /** a line must have its end after so long */
  lineMs: 10_000,
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
  /** lines that were no report, too long, too slow or too many, and reports that could not be read */
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
  let heldBytes = 0;
  const drop = (why: string, err?: unknown) => {
    dropped += 1;
    if (dropped === 1) log.warn({ why, err }, "a report of zone A was dropped");
  };
  const take = (line: Buffer | null) => {
    const now = Math.floor(performance.now() / 1000);
    lines = now === second ? lines + 1 : 1;
    second = now;
    if (lines > REPORT_LIMITS.linesPerSecond) return drop("too many lines in a second");
    const report = line === null ? null : reportOf(line);
    if (report === null) return drop("not a report");
    try {
      onReport(report);
    } catch (error) {
      // A claim that we cannot read is a claim less; it must not end the run.
      drop("it could not be read", error);
    }
  };
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const splitter = new LineSplitter(REPORT_LIMITS.lineBytes);
    let held = 0;
    let late: NodeJS.Timeout | undefined;
    const hold = (bytes: number) => {
      heldBytes += bytes - held;
      held = bytes;
    };
    const refuse = (why: string) => {
      clearTimeout(late);
      drop(why);
      socket.destroy();
    };
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("end", () => socket.end());
    socket.on("close", () => {
      clearTimeout(late);
      hold(0);
      sockets.delete(socket);
    });
    socket.on("data", (chunk: Buffer) => {
      splitter.push(chunk, (line) => {
        clearTimeout(late);
        late = undefined;
        take(line);
      });
      hold(splitter.heldBytes);
      if (splitter.isOverlong) refuse("a line without an end");
      else if (heldBytes > REPORT_LIMITS.heldBytes) refuse("too much of lines without an end");
      else if (held > 0)
        late ??= setTimeout(() => refuse("a line without an end in time"), REPORT_LIMITS.lineMs);
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
  if (isTooDeep(line)) return null;
  try {
    return Report.safeParse(JSON.parse(line.toString("utf8"))).data ?? null;
  } catch {
    return null;
  }
}
