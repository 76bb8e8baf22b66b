import { configurePool, emptyPool } from "../src/kit/sandbox-pool.ts";
import { readPoolOptions } from "../src/tool-runner/pool-settings.ts";
import { McpCaller, openLiveRun } from "./live-run.ts";
import { median } from "./measure.ts";
import { peerRow } from "./row.ts";
import type { Row } from "./row.ts";
import { sandboxedTrue, spawned } from "./sandbox-work.ts";
import { TRUE_CALL, trueTools } from "./true-tools.ts";

const AT_ONCE = 4;
const SLICE_MS = 1200;
const ROUNDS = 3;
const GOAL = { atLeast: 600 };

/** How many sandboxes and how many tool calls of /bin/true a second, four at once, against Node's spawn. */
export async function throughputRows(): Promise<Row[]> {
  await using run = await openLiveRun(trueTools());
  using caller = new McpCaller(run);
  await configurePool(readPoolOptions({}));
  const works = {
    spawn: () => spawned("/bin/true", []),
    sandbox: () => sandboxedTrue({ listens: true }),
    call: () => caller.call(TRUE_CALL.plain),
  };
  const rates = { spawn: [] as number[], sandbox: [] as number[], call: [] as number[] };
  const names = ["spawn", "sandbox", "call"] as const;
  for (const name of names) await perSecond(works[name], 400);
  for (let round = 0; round < ROUNDS; round++)
    for (const name of names) rates[name].push(await perSecond(works[name], SLICE_MS));
  await emptyPool();
  const peer = { name: `Node spawn /bin/true, ${AT_ONCE} at once`, value: median(rates.spawn) };
  return [
    peerRow(`sandboxes of /bin/true, ${AT_ONCE} at once`, median(rates.sandbox), "/s", peer, GOAL),
    peerRow(`tool calls over MCP, ${AT_ONCE} at once`, median(rates.call), "/s", peer, GOAL),
  ];
}

async function perSecond(work: () => Promise<void>, forMs: number): Promise<number> {
  const started = performance.now();
  let done = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (performance.now() - started < forMs) {
        await work();
        done += 1;
      }
    }),
  );
  return (done * 1000) / (performance.now() - started);
}
