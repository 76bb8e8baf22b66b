import { findBubblewrap } from "../src/kit/sandbox.ts";
import { median, sideBySide } from "./measure.ts";
import { ratioRow } from "./row.ts";
import type { Row } from "./row.ts";
import { sandboxedTrue, spawned } from "./sandbox-work.ts";

// The least that bubblewrap needs for the same view: no seccomp, no limits, no listener, no init of ours.
const BARE_BWRAP =
  "--unshare-all --die-with-parent --new-session --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev --size 16777216 --tmpfs /tmp --clearenv /bin/true".split(
    " ",
  );

/** A tool's sandbox around /bin/true, from the call to the end of its last process. */
export async function sandboxRows(): Promise<Row[]> {
  const bwrap = findBubblewrap(process.env["PATH"] ?? "/usr/bin:/bin");
  const times = await sideBySide(60, {
    node: () => spawned("/bin/true", []),
    bwrap: () => spawned(bwrap, BARE_BWRAP),
    sandbox: () => sandboxedTrue({ listens: true }),
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
