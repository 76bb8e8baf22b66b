import { execFileSync } from "node:child_process";
import { readFileSync, realpathSync, statSync } from "node:fs";
import { basename } from "node:path";
import type { FoundProgram } from "./resolve-program.ts";

/** A version manager answers at once, or something is wrong with it. */
const ANSWER_MS = 5000;
const LARGEST_SHIM_BYTES = 16 * 1024;

/**
 * The program that a shim of a version manager (pyenv, rbenv, nodenv, goenv, asdf, mise) would start now. The shim itself needs its
 * manager, which zone A does not have; the manager is asked here, as the shell would. A program that is no shim is given back.
 */
export function behindShim(program: FoundProgram): FoundProgram {
  const manager = managerOf(program);
  if (manager === null) return program;
  try {
    const answer = execFileSync(manager, ["which", basename(program.found)], {
      encoding: "utf8",
      timeout: ANSWER_MS,
      stdio: ["ignore", "pipe", "ignore"],
    });
    const found = answer.trim();
    if (!found.startsWith("/") || !statSync(found).isFile()) return program;
    return { found, real: realpathSync(found) };
  } catch {
    // It has no such program now; the shim then says so itself.
    return program;
  }
}

function managerOf({ found, real }: FoundProgram): string | null {
  if (basename(real) === "mise" && basename(found) !== "mise") return real;
  if (!/\/shims\/[^/]+$/.test(real) || statSync(real).size > LARGEST_SHIM_BYTES) return null;
  // The line that each of them ends with: exec "/home/u/.pyenv/libexec/pyenv" exec "$program" "$@"
  return (
    /^exec "?(\/[^"\s]+\/(?:[a-z]+env|asdf))"? exec /m.exec(readFileSync(real, "utf8"))?.[1] ?? null
  );
}
