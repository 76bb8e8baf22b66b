import assert from "node:assert/strict";
import { createReadStream, existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { until } from "../helpers/until.ts";
import { verifyAsciicast } from "../../src/protocol/asciicast-verify.ts";
import { rawBytesOf } from "../../src/protocol/asciicast.ts";
import type { ShellInfo } from "../../src/protocol/manager-api.ts";
import { VerifyResult } from "../../src/protocol/results.ts";
import { openLab } from "../helpers/lab.ts";
import { liveThroughShells } from "../helpers/many-shells.ts";
import { anAgent } from "../helpers/manifests.ts";
import { sees, sitDown, skip } from "../helpers/person.ts";

suite("a shell beside the agent", { skip }, () => {
  test("is in the agent's zone, types for one person, and is recorded whole as a session of its own", async () => {
    await using lab = openLab();
    const agent = lab.write("agent.yaml", anAgent("echo agent here; touch made; read -r line"));
    using first = sitDown(lab, ["run", `--data=${lab.data}`, agent]);
    await sees(first, /agent here/);
    const { run } = await lab.waitForRun();
    using person = sitDown(lab, ["shell", run, `--data=${lab.data}`]);
    await sees(person, /\$ $/);

    person.type("stty size; ls; echo uid:$(id -u); echo pid1:$(cat /proc/1/comm)\r");
    await sees(person, /30 100/);
    await sees(person, /made/);
    await sees(person, /pid1:zone-init/);
    person.type("exit 7\r");
    const code = await person.left;
    first.type("\r");
    await first.left;

    assert.equal(code, 0, person.seen);
    assert.match(person.seen, /shell [0-9a-f]{16} exited with code 7/);
    const list = await lab.agentkube(["shell", run, "--list", "--json", `--data=${lab.data}`])
      .ended;
    const { shells } = JSON.parse(list.stdout.toString()) as { shells: [ShellInfo] };
    const [info] = shells;
    const dir = path.join(lab.data, "runs", run, "shells");
    assert.equal(info.grant_id, grantIn(person.seen));
    assert.equal(info.recording?.verified, true);
    assert.equal(info.reason, "exited with code 7");
    const cast = path.join(dir, `${info.grant_id}.cast`);
    assert.deepEqual((await verifyAsciicast(createReadStream(cast))).problems, []);
    const { session } = info;
    const checked = await lab.agentkube([
      "recording",
      "verify",
      "--json",
      session,
      `--data=${lab.data}`,
    ]).ended;
    const { ok, proof, bytes: size } = VerifyResult.parse(JSON.parse(checked.stdout.toString()));
    assert.ok(ok);
    assert.deepEqual(
      [proof?.signedBytes, proof?.countersignedBytes, proof?.ended],
      [size, size, true],
    );
    const bytes = Buffer.concat(await Array.fromAsync(rawBytesOf(cast))).toString();
    assert.match(bytes, /pid1:zone-init/);
    const events = readFileSync(path.join(lab.data, "runs", run, "events.jsonl"), "utf8");
    assert.match(events, /"change":"opened".*\n[^]*"change":"closed"/);
    assert.equal(existsSync(path.join(lab.data, "spool", run)), false);
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("with a program needs no terminal: its output can be piped, its exit code is the program's", async () => {
    await using lab = openLab();
    const agent = lab.write("agent.yaml", anAgent("echo agent here; sleep 100"));
    const cli = lab.run([agent]);
    const { run } = await lab.waitForRun(({ phase }) => phase === "running");
    const ends = [];
    for (const argv of [
      ["sh", "-c", "seq 3; exit 7"],
      ["no-such-program"],
      ["/etc/passwd"],
      ["sh", "-c", "kill -9 $$"],
    ]) {
      const end = await lab.agentkube(["shell", run, `--data=${lab.data}`, "--", ...argv]).ended;
      ends.push({ code: end.code, out: end.stdout.toString().slice(0, 9), err: end.stderr });
    }
    const bare = await lab.agentkube(["shell", run, `--data=${lab.data}`]).ended;
    const words = ["--json", `--data=${lab.data}`];
    const asJson = await lab.agentkube(["shell", run, ...words, "--", "printf", "no newline"])
      .ended;
    const watching = lab.agentkube(["attach", run, ...words]);
    await until("the terminal to be shown", () => watching.stdout.includes("agent here"));
    cli.child.kill("SIGINT");
    await cli.ended;
    const watched = await watching.ended;

    assert.match(asJson.stdout.toString(), /^no newline\n\{"run":.*"exitCode":0.*\}\n$/);
    const last = JSON.parse(watched.stdout.toString().trimEnd().split("\n").at(-1) ?? "");
    assert.deepEqual([last.detached, last.end.outcome], [false, "cancelled"]);
    assert.deepEqual([ends[0]?.code, ends[0]?.out], [7, "1\r\n2\r\n3\r\n"]);
    assert.match(ends[1]?.err ?? "", /Cannot start "no-such-program".*\(ENOENT\); name a program/);
    assert.match(ends[2]?.err ?? "", /Cannot start "\/etc\/passwd".*\(EACCES\); run chmod/);
    assert.deepEqual(
      ends.slice(1).map(({ code }) => code),
      [127, 126, 137],
    );
    assert.equal(bare.code, 2);
    assert.match(bare.stderr, /needs a terminal/);
  });

  test("ends when it is closed, also with a program that ignores its hangup; the run goes on", async () => {
    await using lab = openLab();
    const agent = lab.write("agent.yaml", anAgent("echo agent here; sleep 300"));
    const words = ["run", agent, "--detach", `--data=${lab.data}`, `--workspace=${lab.workspace}`];
    const started = await lab.agentkube(words, { timeoutMs: 90_000 }).ended;
    assert.equal(started.code, 0, started.text);
    const { run } = await lab.waitForRun(({ phase }) => phase === "running", 60_000);

    const shells = await liveThroughShells(lab, run, 4);
    const { phase } = await lab.waitForRun();
    await lab.agentkube(["stop", run, `--data=${lab.data}`], { timeoutMs: 90_000 }).ended;

    const codes = shells.map(({ exitCode }) => exitCode);
    assert.deepEqual(
      codes.toSorted((one, other) => Number(one) - Number(other)),
      [3, 3, 3, 137],
    );
    assert.ok(shells.every(({ recording }) => recording?.verified === true));
    assert.equal(phase, "running");
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("ends with the run, with all it showed on record; one that has ended has no more of them", async () => {
    await using lab = openLab();
    const agent = lab.write("agent.yaml", anAgent("echo agent here; read -r line"));
    using first = sitDown(lab, ["run", `--data=${lab.data}`, agent]);
    await sees(first, /agent here/);
    const { run } = await lab.waitForRun();
    using person = sitDown(lab, ["shell", run, `--data=${lab.data}`]);
    await sees(person, /\$ $/);
    person.type("echo from-the-shell; trap '' HUP TERM; sleep 600\r");
    await sees(person, /^from-the-shell/m);

    first.type("\r");
    await first.left;
    await person.left;

    const cast = await until("the recording of the shell", () => {
      const dir = path.join(lab.data, "runs", run, "shells", `${grantIn(person.seen)}.cast`);
      return existsSync(dir) ? dir : undefined;
    });
    assert.deepEqual((await verifyAsciicast(createReadStream(cast))).problems, []);
    const late = await lab.agentkube(["shell", run, `--data=${lab.data}`]).ended;
    assert.equal(late.code, 1);
    assert.match(late.stderr, /it has ended/);
    assert.deepEqual(await lab.leftovers(), []);
  });
});

function grantIn(seen: string): string {
  return /shell ([0-9a-f]{16}) /.exec(seen)?.[1] ?? "";
}
