import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { openContainerZone } from "../../src/kit/container-zone.ts";
import type { ProgramExit } from "../../src/kit/init-channel.ts";
import { PtySession } from "../../src/agentlet/pty-session.ts";
import type { Sandbox } from "../../src/kit/sandbox.ts";

const never = new AbortController().signal;
const ENV = { PATH: "/usr/bin:/bin" };

/** The kernel's own list of Linux security modules; without Landlock nothing can be fenced. */
function lacksLandlock(): string | false {
  const file = "/sys/kernel/security/lsm";
  if (existsSync(file) && !readFileSync(file, "utf8").includes("landlock")) return "no Landlock";
  return false;
}

async function openFenced(hidden: readonly string[]): Promise<Sandbox> {
  const { zone, weakness } = await openContainerZone(
    { hidden, listen: 4180 + Math.floor(Math.random() * 10_000), processes: 4096 },
    never,
  );
  for (const descriptor of zone.listeners.values()) closeSync(descriptor);
  assert.equal(weakness, null);
  return zone;
}

async function run(zone: Sandbox, script: string): Promise<{ text: string; exit: ProgramExit }> {
  const program = await zone.start({
    argv: ["/bin/sh", "-c", script],
    cwd: "/",
    env: ENV,
    cols: 80,
    rows: 24,
  });
  let text = "";
  const pty = new PtySession({
    program,
    size: { cols: 80, rows: 24 },
    onOutput: (bytes) => {
      text += bytes.toString("utf8");
    },
    onRefusedInput: () => undefined,
  });
  const { exit } = await pty.ended;
  return { text, exit };
}

suite("zone A in a container", { skip: lacksLandlock() }, () => {
  test("a hidden directory cannot be opened, listed or entered, whatever path leads there; the rest can", async () => {
    const dir = mkdtempSync(join(tmpdir(), "agentkube-fence-"));
    mkdirSync(join(dir, "token"));
    mkdirSync(join(dir, "open"));
    writeFileSync(join(dir, "token/token"), "the-token-of-the-agentlet");
    writeFileSync(join(dir, "open/file"), "free");
    try {
      await using zone = await openFenced([join(dir, "token")]);
      const { text } = await run(
        zone,
        `cat ${dir}/token/token; cat /proc/self/root${dir}/token/token; ls ${dir}/token; cat ${dir}/open/file; echo made > ${dir}/open/new && cat ${dir}/open/new`,
      );
      assert.doesNotMatch(text, /the-token-of-the-agentlet/);
      assert.equal(text.match(/Permission denied/g)?.length, 3, text);
      assert.match(text, /free/);
      assert.match(text, /made/);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test("nothing outside the fence can be signalled, and our memory cannot be read", async () => {
    await using zone = await openFenced([]);
    const { text } = await run(
      zone,
      `kill -0 ${process.pid} 2>&1; kill -9 -1; head -c 10 /proc/${process.pid}/mem 2>&1; echo end`,
    );
    // Whoever sent SIGKILL to all is still here to read this, and so is the test.
    assert.match(text, /not permitted/);
    assert.match(text, /end/);
    assert.match(text, /mem.*(?:Permission denied|Operation not permitted)/);
  });

  test("its end takes everything along, what has a session of its own too", async () => {
    const dir = mkdtempSync(join(tmpdir(), "agentkube-fence-"));
    try {
      const zone = await openFenced([]);
      const script = `setsid sh -c 'trap "" TERM HUP; echo $$ > ${dir}/pid; exec sleep 1000' & sleep 0.3; echo started; exit 3`;
      const { exit } = await run(zone, script);
      assert.deepEqual(exit, { kind: "exited", code: 3 });
      const pid = Number(readFileSync(join(dir, "pid"), "utf8"));
      process.kill(pid, 0);
      await zone.kill();
      await timers.setTimeout(20);
      assert.throws(() => process.kill(pid, 0), /ESRCH/);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test("its end comes also when its init was stopped", async () => {
    const stopped = await openFenced([]);
    await stopped.start({ argv: ["/bin/sleep", "1000"], cwd: "/", env: ENV, cols: 80, rows: 24 });
    process.kill(stopped.pid, "SIGSTOP");
    const before = performance.now();

    await stopped.kill();

    assert.ok(performance.now() - before < 4000);
    assert.throws(() => process.kill(stopped.pid, 0), /ESRCH/);
  });
});
