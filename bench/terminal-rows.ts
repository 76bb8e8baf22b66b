import { closeSync } from "node:fs";
import timers from "node:timers/promises";
import { PtySession } from "../src/agentlet/pty-session.ts";
import { native } from "../src/kit/native.ts";
import { openSandbox } from "../src/kit/sandbox.ts";
import type { Sandbox } from "../src/kit/sandbox.ts";
import type { StartedProgram } from "../src/kit/started-programs.ts";
import { quantile } from "./measure.ts";
import { zonePlan } from "./plans.ts";
import { ratioRow, valueRow } from "./row.ts";
import type { Row } from "./row.ts";

const MEGABYTES = 100;
const KEYSTROKES = 300;

/** What the agentlet's terminal costs against the same PTY read by hand. */
export async function terminalRows(): Promise<Row[]> {
  const never = new AbortController().signal;
  await using zone = await openSandbox(
    zonePlan(),
    { stdin: "ignore", stdout: "ignore", stderr: "ignore" },
    never,
  );
  const plain: number[] = [];
  const session: number[] = [];
  for (let round = 0; round < 3; round++) {
    plain.push(await throughput(await flood(zone), readPlainly));
    session.push(await throughput(await flood(zone), readBySession));
  }
  const bare = await echoTimes(zone, false);
  const ours = await echoTimes(zone, true);
  return [
    ratioRow(
      "PTY output read by the agentlet's session",
      quantile(session, 0.5),
      "MB/s",
      { name: "read(2) in a loop and dropped", value: quantile(plain, 0.5) },
      { atLeast: 0.6 },
    ),
    ...[0.5, 0.99].map((share) => {
      const bareMs = quantile(bare, share);
      const name = `keystroke echo added by the session, p${share * 100}`;
      return valueRow(
        name,
        Math.max(0, quantile(ours, share) - bareMs),
        "ms",
        `bare PTY: ${bareMs.toFixed(3)} ms`,
        {
          atMost: share === 0.5 ? 0.2 : 2,
        },
      );
    }),
  ];
}

async function flood(zone: Sandbox): Promise<StartedProgram> {
  const script = `stty -opost; yes 'The quick brown fox jumps over the lazy dog, again and again.' | head -c ${MEGABYTES * 1_000_000}`;
  return await zone.start({
    argv: ["/bin/sh", "-c", script],
    cwd: "/tmp",
    env: { PATH: "/usr/bin:/bin" },
    cols: 120,
    rows: 40,
  });
}

async function throughput(
  program: StartedProgram,
  read: (program: StartedProgram) => Promise<number>,
): Promise<number> {
  const started = performance.now();
  const bytes = await read(program);
  if (bytes !== MEGABYTES * 1_000_000)
    throw new Error(`Expected ${MEGABYTES} MB, got ${bytes} bytes`);
  return bytes / 1000 / (performance.now() - started);
}

function readPlainly({ master }: StartedProgram): Promise<number> {
  const buffer = Buffer.allocUnsafe(64 * 1024);
  let total = 0;
  return new Promise((resolve) => {
    const watcher = new (native().Watcher)(master, () => {
      for (;;) {
        const count = native().read(master, buffer, 0, buffer.length);
        if (count > 0) total += count;
        else if (total === MEGABYTES * 1_000_000) {
          watcher.close();
          closeSync(master);
          return resolve(total);
        } else return;
      }
    });
    watcher.watch(1);
  });
}

async function readBySession(program: StartedProgram): Promise<number> {
  let total = 0;
  const session = new PtySession({
    program,
    size: { cols: 120, rows: 40 },
    onOutput: (bytes) => (total += bytes.length),
    onRefusedInput: () => undefined,
  });
  await session.ended;
  return total;
}

/** Milliseconds from a key to its echo by the terminal, with `cat` behind it. */
async function echoTimes(zone: Sandbox, bySession: boolean): Promise<number[]> {
  const program = await zone.start({
    argv: ["/bin/cat"],
    cwd: "/tmp",
    env: { PATH: "/usr/bin:/bin" },
    cols: 120,
    rows: 40,
  });
  let heard: () => void = () => undefined;
  const buffer = Buffer.allocUnsafe(4096);
  const key = Buffer.from("k");
  const session = bySession
    ? new PtySession({
        program,
        size: { cols: 120, rows: 40 },
        onOutput: () => heard(),
        onRefusedInput: () => undefined,
      })
    : undefined;
  const watcher = bySession
    ? undefined
    : new (native().Watcher)(program.master, () => {
        if (native().read(program.master, buffer, 0, buffer.length) > 0) heard();
      });
  watcher?.watch(1);
  const times: number[] = [];
  for (let turn = 0; turn < KEYSTROKES; turn++) {
    await timers.setTimeout(2);
    const { promise, resolve } = Promise.withResolvers<void>();
    heard = resolve;
    const started = performance.now();
    if (session === undefined) native().write(program.master, key, 0, 1);
    else session.write(key);
    await promise;
    times.push(performance.now() - started);
  }
  session?.abandon();
  watcher?.close();
  if (session === undefined) closeSync(program.master);
  return times.slice(20);
}
