import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { strangerOn } from "../../../src/agentlet/states/foreground.ts";
import { openTestZone, startOnTerminal } from "../open-zone.ts";

suite("the program that has a terminal", { concurrency: false }, () => {
  test("is the CLI while it has it itself", async () => {
    await using zone = await openTestZone();
    const { pty, shows } = await startOnTerminal(zone, ["/bin/sh", "-c", "echo on; sleep 60; :"]);
    await shows("on");

    assert.equal(strangerOn(pty.foregroundGroup, pty.pid, 1), null);
  });

  test("is not the CLI when it has the CLI's number in a namespace of its own making", async () => {
    await using zone = await openTestZone();
    // Numbers are given in order: some are used up until the next one is the CLI's.
    const inner =
      "set -m; n=2; while [ $n -lt $P ]; do /bin/true; n=$((n+1)); done; sh -c 'echo number $$ of $P; sleep 60; :'";
    const { pty, shows } = await startOnTerminal(zone, [
      "/bin/sh",
      "-c",
      `P=$$; export P; unshare -Urpf /bin/sh -c "$0"; :`,
      inner,
    ]);
    await shows(`number ${pty.pid} of ${pty.pid}`);

    assert.equal(strangerOn(pty.foregroundGroup, pty.pid, 1), "sh");
  });
});
