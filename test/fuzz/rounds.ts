// Runs one target for some time, and what it must never forget: the inputs that once broke it.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { boundaryTargets } from "./boundary-targets.ts";
import { httpTargets } from "./http-targets.ts";
import { messageTargets } from "./message-targets.ts";
import { mutated, randomOf } from "./mutate.ts";
import type { FuzzTarget } from "./target.ts";

export const targets: Record<string, FuzzTarget> = {
  ...httpTargets,
  ...messageTargets,
  ...boundaryTargets,
};

const REGRESSIONS = fileURLToPath(new URL("regressions", import.meta.url));
const SLOW_MS = 4000;

export interface Round {
  inputs: number;
  /** the file that the breaking input was written to, and what it broke; null when nothing did */
  broken: { file: string; error: unknown } | null;
}

/** Inputs that broke a target once, by file. */
export function regressionsOf(name: string): { file: string; input: Buffer }[] {
  const directory = path.join(REGRESSIONS, name);
  if (!existsSync(directory)) return [];
  return readdirSync(directory).map((file) => ({
    file: path.join(directory, file),
    input: readFileSync(path.join(directory, file)),
  }));
}

/** Runs one input. Throws when a promise of the target is broken, or when it takes far too long. */
export async function runOnce(target: FuzzTarget, input: Buffer): Promise<void> {
  const started = performance.now();
  await target.run(input);
  const took = performance.now() - started;
  if (took > SLOW_MS) throw new Error(`It took ${Math.round(took)} ms`);
}

/** Tries inputs until the time is over or one breaks the target; that one is kept as a file. */
export async function fuzz(
  name: string,
  options: { milliseconds: number; seed: number },
): Promise<Round> {
  const target = targets[name] as FuzzTarget;
  const random = randomOf(options.seed);
  const seeds = [...target.seeds, ...regressionsOf(name).map(({ input }) => input)];
  const deadline = performance.now() + options.milliseconds;
  let inputs = 0;
  try {
    for (; performance.now() < deadline; inputs++) {
      const input = inputs < seeds.length ? (seeds[inputs] as Buffer) : mutated(seeds, random);
      try {
        await runOnce(target, input);
      } catch (error) {
        return { inputs, broken: { file: keep(name, input), error } };
      }
    }
    return { inputs, broken: null };
  } finally {
    await target.close?.();
  }
}

function keep(name: string, input: Buffer): string {
  const directory = path.join(REGRESSIONS, name);
  mkdirSync(directory, { recursive: true });
  const file = path.join(directory, createHash("sha256").update(input).digest("hex").slice(0, 16));
  writeFileSync(file, input);
  return file;
}
