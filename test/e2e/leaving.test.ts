import assert from "node:assert/strict";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { until } from "../helpers/until.ts";
import { native } from "../../src/kit/native.ts";
import { openLab, repository } from "../helpers/lab.ts";
import type { Lab, RunningCli } from "../helpers/lab.ts";
import { anAgent } from "../helpers/manifests.ts";

/** An agent that leaves a file behind when it has come to its end. */
const WORKER = anAgent(
  "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do echo $i; sleep 0.1; done; echo >over",
);

async function untilOver(lab: Lab): Promise<void> {
  const over = () => (existsSync(path.join(lab.workspace, "over")) ? true : undefined);
  await until("the end of the agent's work", over);
  assert.deepEqual(await lab.leftovers(), []);
  const ps = await lab.agentkube(["ps", "--data", lab.data]).ended;
  assert.match(ps.text, /succeeded \(exited\)/);
}

suite("run goes away and the run goes on", () => {
  test("killed while its supervisor still starts the programs", async () => {
    await using lab = openLab();
    const cli = lab.run([lab.write("agent.yaml", WORKER)]);
    const runs = path.join(lab.data, "runs");
    await until(
      "the registered run",
      () =>
        readdirSync(runs).some((run) => existsSync(path.join(runs, run, "run.json"))) || undefined,
    );

    cli.child.kill("SIGKILL");

    await untilOver(lab);
  });

  for (const [into, code, says] of [
    ["| head -1", 141, /EPIPE/],
    [">/dev/full", 1, /ENOSPC/],
  ] as const) {
    test(`${into}: says so, and its exit code is no success`, async () => {
      await using lab = openLab();
      const agent = lab.write("agent.yaml", WORKER);
      const words = `run ${agent} --data ${lab.data} --workspace ${lab.workspace}`;
      const run = `${process.execPath} ${repository}bin/agentkube.js ${words}`;

      const shell = lab.start("/bin/bash", ["-c", `${run} ${into}; exit \${PIPESTATUS[0]}`]);
      const end = await shell.ended;

      assert.equal(end.code, code, end.text);
      assert.match(end.stderr, says);
      assert.match(end.stderr, /detached; run lab-\w+ goes on/);
      await untilOver(lab);
    });
  }
});

suite("run goes away before the run is registered", () => {
  test("killed: its supervisor starts nothing", async () => {
    await using lab = openLab();
    using _gate = holdStore(lab);
    const cli = startHuman(lab);
    const supervisor = await supervisorOf(lab);

    cli.child.kill("SIGKILL");

    await until(
      "the end of the supervisor",
      () => lab.processes().every(({ pid }) => pid !== supervisor) || undefined,
    );
    assert.ok(!existsSync(path.join(lab.data, "runs")));
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("Ctrl-C: a supervisor that does not answer is killed at the second, and it is said", async () => {
    await using lab = openLab();
    using _gate = holdStore(lab);
    const cli = startHuman(lab);
    process.kill(await supervisorOf(lab), "SIGSTOP");

    cli.child.kill("SIGINT");
    await timers.setTimeout(200);
    assert.equal(cli.child.exitCode, null);
    cli.child.kill("SIGINT");

    const end = await cli.ended;
    assert.equal(end.code, 130, end.text);
    assert.match(end.stderr, /did not answer and was killed/);
    assert.deepEqual(
      lab.processes().filter(({ command }) => command.endsWith(" supervisor")),
      [],
    );
  });

  test("Ctrl-C: a supervisor that does not answer is killed after 5 s", async () => {
    await using lab = openLab();
    using _gate = holdStore(lab);
    const cli = startHuman(lab);
    process.kill(await supervisorOf(lab), "SIGSTOP");

    cli.child.kill("SIGINT");

    const end = await cli.ended;
    assert.equal(end.code, 130, end.text);
    assert.match(end.stderr, /did not answer and was killed/);
  });
});

function startHuman(lab: Lab): RunningCli {
  const agent = lab.write("agent.yaml", WORKER);
  return lab.agentkube(["run", agent, "--data", lab.data, "--workspace", lab.workspace]);
}

/** Keeps a supervisor where it is: before its run is registered it waits for the store. */
function holdStore(lab: Lab): Disposable {
  mkdirSync(path.join(lab.data, "store"), { recursive: true, mode: 0o700 });
  const file = openSync(path.join(lab.data, "store/.gate"), "a", 0o600);
  assert.ok(native().lockFile(file));
  return { [Symbol.dispose]: () => closeSync(file) };
}

async function supervisorOf(lab: Lab): Promise<number> {
  // Not yet the shell that looks for Node and becomes it: its own children have its name.
  const find = () =>
    lab
      .processes()
      .find(({ command }) => command.endsWith(" supervisor") && !command.startsWith("/bin/sh "))
      ?.pid;
  return await until("the supervisor", find);
}
