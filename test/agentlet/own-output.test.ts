import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { copyOwnOutput } from "../../src/agentlet/own-output.ts";
import { PtySession } from "../../src/agentlet/pty-session.ts";
import { openTestZone } from "./open-zone.ts";
import type { TestZone } from "./open-zone.ts";

const hash = (bytes: Buffer[]): string =>
  createHash("sha256").update(Buffer.concat(bytes)).digest("hex");

/** Runs a script whose standard output is its own, with its terminal not read for a while. */
async function runApart(zone: TestZone, script: string, pausedMs = 0) {
  const program = await zone.sandbox.start({
    argv: ["/bin/sh", "-c", script],
    cwd: zone.workspace,
    env: { PATH: "/usr/bin:/bin" },
    cols: 80,
    rows: 24,
    outputApart: true,
  });
  assert.ok(program.output !== null);
  const own: Buffer[] = [];
  const shown: Buffer[] = [];
  const copied = copyOwnOutput(program.output, program.exited, (bytes) => {
    own.push(Buffer.from(bytes));
  });
  const pty = new PtySession({
    program: { ...program, exited: copied.then(async () => await program.exited) },
    size: { cols: 80, rows: 24 },
    onOutput: (bytes) => shown.push(Buffer.from(bytes)),
    onRefusedInput: () => undefined,
  });
  if (pausedMs > 0) {
    pty.pause();
    await timers.setTimeout(pausedMs);
    pty.resume();
  }
  const { exit, terminalHeld } = await pty.ended;
  return { own, shown, exit, terminalHeld };
}

suite("a program's own output", () => {
  test("is on the terminal with all else, in order, and apart without what others write there", async () => {
    await using zone = await openTestZone();

    const { own, shown, exit } = await runApart(
      zone,
      "echo one; sleep 0.2; echo two >&2; sleep 0.2; echo three > /dev/tty; sleep 0.2; echo four; exit 3",
    );

    assert.equal(Buffer.concat(own).toString(), "one\nfour\n");
    assert.equal(Buffer.concat(shown).toString(), "one\r\ntwo\r\nthree\r\nfour\r\n");
    assert.deepEqual(exit, { kind: "exited", code: 3 });
  });

  test("loses no byte at the exit, of any size, while the terminal is not read", async () => {
    await using zone = await openTestZone();

    for (const size of [3000, 256 * 1024, 3 * 1024 * 1024]) {
      const { own, shown, terminalHeld } = await runApart(
        zone,
        `head -c ${size} /dev/zero | tr '\\0' x`,
        300,
      );
      const all = createHash("sha256").update("x".repeat(size)).digest("hex");
      assert.deepEqual([hash(own), hash(shown), terminalHeld], [all, all, false]);
    }
  });

  test("ends with the program also when a child holds it open, and cannot be opened by /proc", async () => {
    await using zone = await openTestZone();

    const { own, shown } = await runApart(
      zone,
      "sleep 30 & sh -c 'echo forged > /proc/$PPID/fd/1 || echo refused >&2'; echo last",
    );

    assert.equal(Buffer.concat(own).toString(), "last\n");
    assert.match(Buffer.concat(shown).toString(), /refused\r\n/);
  });
});
