import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { until } from "./until.ts";
import { repository } from "./lab.ts";
import type { Lab } from "./lab.ts";

// util-linux's script gives the command line a terminal.
const script = ["/usr/bin/script", "/bin/script"].find((file) => existsSync(file));
/** Why a person cannot sit down here. */
export const skip = script === undefined ? "script (util-linux) is not installed" : false;

/** Somebody at a terminal of 100x30 who runs agentkube. */
export interface Person extends Disposable {
  /** what stands on the terminal so far */
  readonly seen: string;
  type(keys: string): void;
  readonly left: Promise<number | null>;
}

export function sitDown(lab: Lab, words: string[]): Person {
  const quoted = [process.execPath, path.join(repository, "bin/agentkube.js"), ...words].map(
    (word) => `'${word}'`,
  );
  const child = spawn(
    script ?? "",
    ["-qfec", `stty cols 100 rows 30; exec ${quoted.join(" ")}`, "/dev/null"],
    {
      cwd: lab.workspace,
      env: {
        PATH: process.env["PATH"],
        HOME: lab.home,
        XDG_RUNTIME_DIR: lab.runtime,
        TMPDIR: lab.tmp,
        TERM: "xterm-256color",
      },
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  let seen = "";
  child.stdout.on("data", (chunk: Buffer) => (seen += chunk.toString("utf8")));
  child.stdin.on("error", () => undefined);
  return {
    get seen() {
      return seen;
    },
    type: (keys) => void child.stdin.write(keys),
    left: new Promise((resolve) => child.once("close", (code) => resolve(code))),
    [Symbol.dispose]: () => void child.kill("SIGKILL"),
  };
}

export async function sees(person: Person, text: RegExp): Promise<void> {
  await until(`${text.source} in:\n${person.seen}`, () =>
    text.test(person.seen) ? true : undefined,
  ).catch(() => assert.match(person.seen, text));
}
