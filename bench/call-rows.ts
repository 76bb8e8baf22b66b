import { configurePool, emptyPool } from "../src/kit/sandbox-pool.ts";
import { readPoolOptions } from "../src/tool-runner/pool-settings.ts";
import { McpCaller, openLiveRun } from "./live-run.ts";
import { median, sideBySide } from "./measure.ts";
import { differenceRow } from "./row.ts";
import type { Row } from "./row.ts";
import { sandboxedTrue } from "./sandbox-work.ts";
import { TRUE_CALL, trueTools } from "./true-tools.ts";

const TURNS = 120;
const WARM_UP = 40;
const ATMOST_MORE_MS = 1;

/** A tool call of /bin/true at the tool-runner of a live run, MCP in to result out, against its sandbox alone. */
export async function callRows(): Promise<Row[]> {
  await using run = await openLiveRun(trueTools());
  // The sandbox alone is made as the tool-runner makes it.
  await configurePool(readPoolOptions({}));
  using caller = new McpCaller(run);
  for (let turn = 0; turn < WARM_UP; turn++) {
    // Both programs run for a while in real life before most calls come.
    await caller.call(TRUE_CALL.plain);
    await caller.call(TRUE_CALL.networked);
    await sandboxedTrue({ listens: true });
  }
  const times = await sideBySide(TURNS, {
    sandbox: () => sandboxedTrue({ listens: false }),
    call: () => caller.call(TRUE_CALL.plain),
    listening: () => sandboxedTrue({ listens: true }),
    networked: () => caller.call(TRUE_CALL.networked),
  });
  await emptyPool();
  return [
    differenceRow(
      "tool call of /bin/true, MCP in to result out",
      median(times.call),
      "ms",
      { name: "the same sandbox alone", value: median(times.sandbox) },
      ATMOST_MORE_MS,
    ),
    differenceRow(
      "the same of a tool with a network, so with a boundary",
      median(times.networked),
      "ms",
      { name: "the same sandbox alone, with its listener", value: median(times.listening) },
      ATMOST_MORE_MS,
    ),
  ];
}
