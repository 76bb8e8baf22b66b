import { PlatformError } from "../kit/platform-error.ts";
import type { PoolOptions } from "../kit/sandbox-pool.ts";

const SETTINGS = {
  size: { name: "AGENTKUBE_WARM_SANDBOXES", standard: 2, most: 32 },
  blanks: { name: "AGENTKUBE_WARM_BLANKS", standard: 2, most: 32 },
  profiles: { name: "AGENTKUBE_WARM_PROFILES", standard: 8, most: 64 },
  idleSeconds: { name: "AGENTKUBE_WARM_IDLE_SECONDS", standard: 300, most: 86_400 },
} as const;

/**
 * How many sandboxes wait for the next calls of a run, from the environment. Throws `PlatformError` `bad_setting` that names
 * the variable.
 */
export function readPoolOptions(env: Readonly<Record<string, string | undefined>>): PoolOptions {
  return {
    size: numberOf(env, SETTINGS.size),
    blanks: numberOf(env, SETTINGS.blanks),
    profiles: numberOf(env, SETTINGS.profiles),
    idleMs: numberOf(env, SETTINGS.idleSeconds) * 1000,
  };
}

function numberOf(
  env: Readonly<Record<string, string | undefined>>,
  { name, standard, most }: { name: string; standard: number; most: number },
): number {
  const text = env[name] ?? "";
  if (text === "") return standard;
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= most) return value;
  throw new PlatformError(
    "bad_setting",
    `Setting ${name}: expected a whole number from 0 to ${most}, got ${JSON.stringify(text.slice(0, 40))}`,
    { path: name, fix: `unset ${name} to get ${standard}` },
  );
}
