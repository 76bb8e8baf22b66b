import { quantileOf, watchTurns } from "../test/helpers/turns.ts";
import { valueRow } from "./row.ts";
import type { Row } from "./row.ts";

const TURNS = 25;

/** How soon and how truly the states of a CLI are seen, against what a fake agent says of itself. */
export async function statesRows(): Promise<Row[]> {
  const hooked = await watchTurns("ClaudeCode", TURNS, { hooks: true, seed: 3 });
  const screen = await watchTurns("Codex", TURNS, { seed: 4, words: ["--torn"] });
  const all = [hooked, screen];
  const truth = "the agent's own word on a side channel";
  return [
    valueRow("turn end seen by a hook, p99", quantileOf(hooked.turnEnd, 0.99), "ms", truth, {
      atMost: 50,
    }),
    valueRow(
      "turn end seen by the screen alone, p99",
      quantileOf(screen.turnEnd, 0.99),
      "ms",
      truth,
      {
        atMost: 700,
      },
    ),
    valueRow(
      "permission seen by the screen alone, p99",
      quantileOf(screen.permission, 0.99),
      "ms",
      truth,
      { atMost: 500 },
    ),
    valueRow(
      "prompt accepted to submitted, p50",
      quantileOf([...hooked.submitted, ...screen.submitted], 0.5),
      "ms",
      truth,
      { atMost: 300 },
    ),
    valueRow(
      `idle told falsely in ${all.length * TURNS} turns`,
      all.reduce((sum, { falseIdle }) => sum + falseIdle.length, 0),
      "times",
      truth,
      { atMost: 0 },
    ),
  ];
}
