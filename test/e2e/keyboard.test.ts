import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { until } from "../helpers/until.ts";
import { LEASE_LIMITS } from "../../src/agentlet/states/input-lease.ts";
import { openLab } from "../helpers/lab.ts";
import { anAgent } from "../helpers/manifests.ts";
import { sees, sitDown, skip } from "../helpers/person.ts";

/** Shows that it works only a second after it was prompted: what a person types meanwhile comes while automation types. */
const PROGRAM = String.raw`
ready() { printf '\033]0;◇  Ready (lab)\007> '; }
working() { printf '\033]0;✦  Working… (lab)\007'; }
ready; read -r p; sleep 1; working; echo "prompt:$p"; sleep 1
ready; read -r q; echo "then:$q"; exit 0`;

interface Line {
  atMs: number;
  kind: string;
  text: string;
}

suite("the keyboard of a real run", { skip }, () => {
  test("is one's at a time: automation waits for a person's last key, a person's keys wait for automation; each change is an event and a marker", async () => {
    await using lab = openLab();
    const agent = anAgent(PROGRAM, { mode: "supervised", timeout: "60s" });
    const file = lab.write("agent.yaml", agent);
    const started = await lab.agentkube(["run", file, "--detach", `--data=${lab.data}`]).ended;
    assert.equal(started.code, 0, started.text);
    const { run } = await lab.waitForRun((info) => info.state === "idle");
    const recording = path.join(lab.data, "runs", run, "recording.cast");
    const isRecorded = async (text: string) =>
      await until(text, () => (readFileSync(recording, "utf8").includes(text) ? true : undefined));
    using person = sitDown(lab, ["attach", run, "--write", `--data=${lab.data}`]);
    await sees(person, />/);

    // Something is written and taken back, so that the composer is empty again.
    person.type("x\x7f");
    await isRecorded("in the hands of a person");
    const prompt = lab.agentkube(["prompt", run, "do it", `--data=${lab.data}`]);
    await isRecorded("in the hands of automation");
    person.type("by hand\r");
    const prompted = await prompt.ended;
    await lab.waitForRun((info) => info.phase === "ended");

    assert.match(prompted.text, /done: confirmed by title/);
    const lines = linesOf(recording);
    const hands = lines.filter(
      ({ kind, text }) => kind === "m" && text.includes("in the hands of"),
    );
    assert.deepEqual(
      hands.map(({ text }) => text.split("in the hands of ")[1]),
      ["a person", "automation", "a person"],
    );
    const [first, second, third] = hands.map(({ atMs }) => atMs);
    assert.ok(first !== undefined && second !== undefined && third !== undefined);
    assert.ok(second - first >= LEASE_LIMITS.personMs - 100, `${second - first} ms`);
    const firstAt = (wanted: string) =>
      lines.find(({ kind, text }) => kind === "o" && text.includes(wanted))?.atMs ?? Infinity;
    assert.ok(firstAt("Working…") <= third && third <= firstAt("by hand"), JSON.stringify(lines));
    assert.ok(firstAt("then:by hand") < Infinity, "what was typed meanwhile is not lost");
    const events = (
      await lab.agentkube(["logs", run, "--json", `--data=${lab.data}`]).ended
    ).stdout.toString("utf8");
    assert.deepEqual(
      [...events.matchAll(/"hands":\s?"(\w+)"/g)].map(([, who]) => who),
      ["person", "automation", "person"],
    );
  });
});

/** Events of a recording, with the time since its begin. */
function linesOf(file: string): Line[] {
  let atMs = 0;
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line.startsWith("["))
    .map((line) => {
      const [seconds, kind, text] = JSON.parse(line) as [number, string, string];
      atMs += seconds * 1000;
      return { atMs, kind, text };
    });
}
