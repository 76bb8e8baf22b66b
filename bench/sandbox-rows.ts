import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync } from "node:fs";
import { findBubblewrap, openSandbox } from "../src/kit/sandbox.ts";
import { median, sideBySide } from "./measure.ts";
import { toolPlan } from "./plans.ts";
import { ratioRow } from "./row.ts";
import type { Row } from "./row.ts";

// The least that bubblewrap needs for the same view: no seccomp, no limits, no listener, no init of ours.
const BARE_BWRAP =
  "--unshare-all --die-with-parent --new-session --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev --size 16777216 --tmpfs /tmp --clearenv /bin/true".split(
    " ",
  );

/** A tool's sandbox around /bin/true, from the call to the end of its last process. */
export async function sandboxRows(): Promise<Row[]> {
  const never = new AbortController().signal;
  const bwrap = findBubblewrap(process.env["PATH"] ?? "/usr/bin:/bin");
  const times = await sideBySide(60, {
    node: () => run("/bin/true", []),
    bwrap: () => run(bwrap, BARE_BWRAP),
    sandbox: async () => {
      await using sandbox = await openSandbox(
        toolPlan(["/bin/true"]),
        { stdin: "ignore", stdout: "pipe", stderr: "pipe" },
        never,
      );
      const exit = await sandbox.toolExit;
      if (exit.kind !== "exited" || exit.code !== 0)
        throw new Error(`/bin/true ended as ${JSON.stringify(exit)}`);
      for (const descriptor of sandbox.listeners.values()) closeSync(descriptor);
    },
  });
  const value = median(times.sandbox);
  return [
    ratioRow(
      "sandboxed /bin/true, built per call",
      value,
      "ms",
      { name: "Node spawn /bin/true", value: median(times.node) },
      { atMost: 0.8 },
    ),
    ratioRow(
      "sandboxed /bin/true, built per call",
      value,
      "ms",
      { name: "bare bwrap", value: median(times.bwrap) },
      { atMost: 1 },
    ),
  ];
}

async function run(program: string, args: string[]): Promise<void> {
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: "/usr/bin:/bin" },
  });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`${program} ended with ${code}`);
}
