import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { until } from "../helpers/until.ts";
import { openLab } from "../helpers/lab.ts";
import { anAgent } from "../helpers/manifests.ts";

/** Asks, waits for a prompt, does it, and asks again: what any program can say of itself with titles and words. */
const PROGRAM = String.raw`
ready() { printf '\033]0;◇  Ready (lab)\007> '; }
working() { printf '\033]0;✦  Working… (lab)\007'; }
printf 'Overwrite notes.txt? [y/N] '; read -r a; echo "answer:$a"
ready; read -r p; working; echo "prompt:$p"; sleep 1
ready; read -r q; working; trap 'echo; ready; read -r end; echo "end:$end"; exit 0' INT; sleep 50 & wait`;

suite("a run that nobody is attached to", () => {
  test("is prompted, answered and interrupted from afar, and each is on record with what showed it", async () => {
    await using lab = openLab();
    const spec = { mode: "supervised", timeout: "60s" };
    const file = lab.write("agent.yaml", anAgent(PROGRAM, spec));
    const started = await lab.agentkube(["run", file, "--detach", `--data=${lab.data}`]).ended;
    assert.equal(started.code, 0, started.text);
    const stateIs = async (state: string) =>
      (await lab.waitForRun((info) => info.state === state, 30_000)).run;
    const cli = async (...words: string[]) => {
      const end = await lab.agentkube([...words, `--data=${lab.data}`]).ended;
      return { code: end.code, said: end.stdout.toString("utf8").trim(), all: end.text };
    };

    const run = await stateIs("permission");
    const early = await cli("prompt", run, "too early");
    const shown = await cli("answer", run);
    const answered = await cli("answer", run, "allow", "--ask", "1");
    await stateIs("idle");
    const none = await cli("answer", run);
    const prompted = await cli("prompt", run, "do it", "--json");
    await stateIs("idle");
    await cli("prompt", run, "and more");
    const interrupted = await cli("interrupt", run);
    await cli("prompt", run, "goodbye");
    await lab.waitForRun((info) => info.phase === "ended", 30_000);

    assert.deepEqual(
      [early.code, early.said],
      [3, "refused: The CLI is permission and takes no prompt; wait until it is idle"],
    );
    assert.match(shown.said, /^Ask 1, permission: Overwrite notes\.txt\?/);
    assert.deepEqual([answered.code, none.said], [0, "Nothing is asked"], answered.all);
    assert.deepEqual(JSON.parse(prompted.said), {
      phase: "done",
      message: "confirmed by title: title-working",
    });
    assert.deepEqual(
      [interrupted.code, interrupted.said],
      [0, "done: idle, seen by title: title-ready"],
    );
    const recording = readFileSync(path.join(lab.data, "runs", run, "recording.cast"), "utf8");
    for (const words of ["answer:y", "prompt:do it", "end:goodbye"])
      assert.ok(recording.includes(words), words);
    assert.match(recording, /the keyboard is in the hands of automation/);
    const logs = await cli("logs", run);
    assert.match(logs.said, /answer 1 {2}done by the operator: allow; then /);
    const ended = await cli("prompt", run, "x");
    assert.match(ended.all, /has ended/);
    await until("nothing is left", async () =>
      (await lab.leftovers()).length === 0 ? true : undefined,
    );
  });
});
