import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, suite, test } from "node:test";
import timers from "node:timers/promises";
import { processTree } from "../../src/kit/process-tree.ts";
import { openTestZone, startOnTerminal } from "./open-zone.ts";
import type { TestZone } from "./open-zone.ts";

suite("PtySession", () => {
  let zone: TestZone;
  before(async () => {
    zone = await openTestZone();
  });
  after(async () => {
    await zone[Symbol.asyncDispose]();
  });

  for (const size of [3_000, 20_000, 256_000]) {
    for (const paused of [false, true]) {
      test(`keeps the last byte of ${size} at exit${paused ? ", also when it was paused" : ""}`, async () => {
        const rounds = paused ? 2 : 10;
        for (let round = 0; round < rounds; round++) {
          const script = `stty -onlcr; head -c ${size - 4} /dev/zero | tr '\\0' x; printf TAIL`;
          const program = await startOnTerminal(zone, ["/bin/sh", "-c", script], { paused });
          if (paused) {
            await timers.setTimeout(300);
            program.pty.resume();
          }

          const end = await program.pty.ended;

          assert.deepEqual(end, { exit: { kind: "exited", code: 0 }, terminalHeld: false });
          assert.equal(program.output().length, size);
          assert.equal(program.output().subarray(-4).toString(), "TAIL");
        }
      });
    }
  }

  test("tells an exit code and a signal apart", async () => {
    const exits = await startOnTerminal(zone, ["/bin/sh", "-c", "exit 9"]);
    const dies = await startOnTerminal(zone, ["/bin/sh", "-c", "kill -9 $$"]);

    assert.deepEqual((await exits.pty.ended).exit, { kind: "exited", code: 9 });
    assert.deepEqual((await dies.pty.ended).exit, { kind: "signalled", signal: "SIGKILL" });
  });

  test("refuses an executable that is not there, as an error and not as output", async () => {
    await assert.rejects(startOnTerminal(zone, ["/usr/bin/no-such-program"]), {
      code: "spawn_failed",
      cause: { kind: "failed", errno: "ENOENT", step: "exec" },
    });
  });

  test("does not burn CPU when the program reads nothing, and takes no more than its queue", async () => {
    const program = await startOnTerminal(zone, [
      "/bin/sh",
      "-c",
      "stty raw -echo; echo ready; sleep 30",
    ]);
    await program.shows("ready");
    const half = Buffer.alloc(512 * 1024, 0x61);

    const taken = [
      program.pty.write(half),
      program.pty.write(half),
      program.pty.write(half),
      program.pty.write(half),
    ];
    const before = process.cpuUsage();
    await timers.setTimeout(2000);
    const used = process.cpuUsage(before);

    assert.deepEqual(taken.slice(0, 2), [true, true]);
    assert.ok(taken.includes(false));
    // At most 5 % of a core.
    assert.ok(used.user + used.system < 100_000, `${used.user + used.system} µs of CPU in 2 s`);
    zone.sandbox.signalAll(9);
    await program.pty.ended;
  });

  test("delivers a large input to a program that reads slowly, while its output is read", async () => {
    const program = await startOnTerminal(zone, [
      "/bin/sh",
      "-c",
      "stty raw -echo; echo ready; sleep 0.2; head -c 900000 | sha256sum",
    ]);
    await program.shows("ready");

    const input = Buffer.alloc(900_000, "abcdefg");
    program.pty.write(input);
    await program.pty.ended;

    const sum = createHash("sha256").update(input).digest("hex");
    assert.ok(program.output().includes(sum));
  });

  test("splits of characters and sequences do not matter: bytes come as they are", async () => {
    const program = await startOnTerminal(zone, [
      "/bin/sh",
      "-c",
      String.raw`stty -onlcr; printf '\303'; sleep 0.05; printf '\251\033[3'; sleep 0.05; printf '1m\360\237'; sleep 0.05; printf '\230\200'`,
    ]);

    await program.pty.ended;

    assert.equal(program.output().toString("utf8"), "é\x1b[31m😀");
  });

  test("puts the kernel's reads of 4 KiB together before it hands them on", async () => {
    const sizes: number[] = [];
    const program = await startOnTerminal(
      zone,
      ["/bin/sh", "-c", "stty -onlcr; head -c 2000000 /dev/zero | tr '\\0' x"],
      { paused: true, onOutput: (bytes) => sizes.push(bytes.length) },
    );
    await timers.setTimeout(300);
    program.pty.resume();
    await program.pty.ended;

    assert.equal(
      sizes.reduce((sum, size) => sum + size, 0),
      2_000_000,
    );
    // The first one had the whole of the terminal's buffer to take.
    assert.ok((sizes[0] ?? 0) > 4096, `the first piece has ${sizes[0]} bytes`);
    assert.ok(Math.max(...sizes) <= 64 * 1024);
  });

  test("ends although a process in a session of its own keeps the terminal open, and says so", async () => {
    const program = await startOnTerminal(zone, [
      "/bin/sh",
      "-c",
      "setsid sleep 300 & sleep 0.2; echo done",
    ]);

    const end = await program.pty.ended;

    assert.equal(end.terminalHeld, true);
    assert.match(program.output().toString(), /done/);
    assert.ok((await processTree(zone.sandbox.pid)).pids.length > 2);
    zone.sandbox.signalAll(9);
  });

  test("Ctrl-S does not freeze the output", async () => {
    const program = await startOnTerminal(zone, [
      "/bin/sh",
      "-c",
      "echo ready; sleep 0.3; echo still here",
    ]);
    await program.shows("ready");

    program.pty.write(Buffer.from("\x13"));

    await program.shows("still here");
    await program.pty.ended;
  });

  test("is a terminal with job control: tty, Ctrl-Z, fg, Ctrl-C", async () => {
    const program = await startOnTerminal(zone, ["/usr/bin/bash", "--norc", "-i"]);
    await program.shows("$ ");
    program.pty.write(Buffer.from("tty; echo dev=$(test -w /dev/tty && echo yes)\r"));
    await program.shows(/\/dev\/pts\/\d+\r\ndev=yes/);
    program.pty.write(Buffer.from("sleep 100\r"));
    await program.shows("sleep 100\r\n");
    await timers.setTimeout(200);
    program.pty.write(Buffer.from("\x1a"));
    await program.shows(/Stopped\s+sleep 100/);
    program.pty.write(Buffer.from("fg\r"));
    await program.shows(/fg\r\n.*sleep 100/s);
    await timers.setTimeout(200);
    program.pty.write(Buffer.from("\x03"));
    program.pty.write(Buffer.from("echo code=$?; exit 4\r"));

    const end = await program.pty.ended;

    assert.match(program.output().toString(), /code=130/);
    assert.deepEqual(end.exit, { kind: "exited", code: 4 });
  });

  test("tells the program its new size once, and never a size of nothing", async () => {
    const script =
      "trap 'echo winch $(stty size)' WINCH; echo ready $(stty size); while :; do sleep 0.05; done";
    const program = await startOnTerminal(zone, ["/bin/sh", "-c", script]);
    await program.shows("ready 24 80");

    const results = [
      program.pty.resize({ cols: 101, rows: 33 }),
      program.pty.resize({ cols: 101, rows: 33 }),
      program.pty.resize({ cols: 0, rows: 0 }),
    ];
    await program.shows("winch 33 101");
    await timers.setTimeout(150);

    assert.deepEqual(results, [true, false, false]);
    assert.equal(program.output().toString().split("winch").length, 2);
    zone.sandbox.signalAll(9);
    await program.pty.ended;
  });

  test("types lines up to 4,095 bytes whole, and refuses a longer one loudly instead of cutting it", async () => {
    const program = await startOnTerminal(zone, ["/bin/sh", "-c", "stty -echo; echo ready; cat"]);
    await program.shows("ready");
    const longest = "a".repeat(4095);

    program.pty.write(Buffer.from(`${longest}\n`));
    program.pty.write(Buffer.from(`${"b".repeat(5000)}\n`));
    program.pty.write(Buffer.from("after\n\x04"));
    await program.pty.ended;

    const text = program.output().toString().replaceAll("\r\n", "\n");
    assert.equal(text, `ready\n${longest}\nafter\n`);
    assert.deepEqual(
      program.refused.reduce((sum, bytes) => sum + bytes, 0),
      5000,
    );
  });
});
