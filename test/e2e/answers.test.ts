import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { until } from "../helpers/until.ts";
import { openLab } from "../helpers/lab.ts";
import { playedText } from "../helpers/screen.ts";
import { anAgent } from "../helpers/manifests.ts";

/** Asks, waits for a prompt, does it, and asks again: what any program can say of itself with titles and words. */
const PROGRAM = String.raw`
ready() { printf '\033]0;◇  Ready (lab)\007> '; }
working() { printf '\033]0;✦  Working… (lab)\007'; }
printf 'Overwrite notes.txt? [y/N] '; read -r a; echo "answer:$a"
ready; read -r p; working; echo "prompt:$p"; sleep 1
ready; read -r q; working; trap 'echo; ready; read -r end; echo "end:$end"; exit 0' INT; sleep 50 & wait`;

/** Takes pastes as a CLI does, and says of each prompt that was submitted how long it is, its digest, and what of it is no text. */
const READER = String.raw`
import { createHash } from "node:crypto";
const title = (words) => process.stdout.write("\x1b]0;" + words + " (lab)\x07");
let typed = "";
let submitted = 0;
process.stdin.setRawMode(true);
process.stdin.setEncoding("utf8").on("data", (text) => {
  typed += text;
  const end = typed.indexOf("\x1b[201~");
  if (end < 0 || !typed.slice(end).includes("\r")) return;
  title("✦  Working…");
  const prompt = typed.slice(typed.indexOf("\x1b[200~") + 6, end);
  const rest = typed.slice(end + 6);
  typed = "";
  submitted += 1;
  const digest = createHash("sha256").update(prompt).digest("hex");
  process.stdout.write("\r\ngot " + JSON.stringify([submitted, prompt.length, digest, rest]) + ".\r\n");
  setTimeout(() => title("◇  Ready"), 800);
});
process.stdout.write("\x1b[?2004h");
title("◇  Ready");
`;

suite("prompts that no terminal should be given as they are", () => {
  test("are refused whole with what to do, or cleaned and submitted once", async () => {
    await using lab = openLab();
    writeFileSync(path.join(lab.workspace, "reader.mjs"), READER);
    const spec = { mode: "supervised", timeout: "100s" };
    const file = lab.write("agent.yaml", anAgent("exec /opt/agentkube/node ./reader.mjs", spec));
    const started = await lab.agentkube(["run", file, "--detach", `--data=${lab.data}`]).ended;
    assert.equal(started.code, 0, started.text);
    const isIdle = async () => await lab.waitForRun(({ state }) => state === "idle");
    const { run } = await isIdle();
    const prompt = async (text: string) => {
      await isIdle();
      const words = ["prompt", run, "--file", lab.write("prompt", text), `--data=${lab.data}`];
      return await lab.agentkube(words, { timeoutMs: 60_000 }).ended;
    };
    const recording = path.join(lab.data, "runs", run, "recording.cast");
    const largest = "largest ".repeat(32 * 1024);

    const huge = await prompt("x".repeat(5_000_000));
    const wide = await prompt("é".repeat(200_000));
    const nothing = await prompt("\0\x1b\x07");
    const unsafe = await prompt("one\0 two\x1b[201~\rrm -rf\n\u009b201~three");
    const whole = await prompt(largest);

    assert.equal(huge.code, 2, huge.text);
    assert.match(huge.text, /Expected a prompt of 1 to 262144 bytes, got 5000000/);
    assert.match(huge.text, /put a long text into a file of the workspace/);
    assert.match(wide.text, /got 400000/);
    assert.deepEqual([nothing.code, unsafe.code, whole.code], [3, 0, 0], whole.text);
    assert.match(nothing.text, /Nothing is left of the prompt/);
    assert.match(unsafe.text, /3 control characters were left out/);
    await lab.agentkube(["stop", run, `--data=${lab.data}`]).ended;
    await lab.waitForRun(({ phase }) => phase === "ended");
    const got = playedText(readFileSync(recording, "utf8")).match(/got \[.*?\]\./g);
    const told = (at: number, text: string) =>
      `got ${JSON.stringify([at, text.length, createHash("sha256").update(text).digest("hex"), "\r"])}.`;
    assert.deepEqual(got, [told(1, "one two[201~\nrm -rf\n201~three"), told(2, largest)]);
  });
});

suite("a run that nobody is attached to", () => {
  test("is prompted, answered and interrupted from afar, and each is on record with what showed it", async () => {
    await using lab = openLab();
    const spec = { mode: "supervised", timeout: "60s" };
    const file = lab.write("agent.yaml", anAgent(PROGRAM, spec));
    const started = await lab.agentkube(["run", file, "--detach", `--data=${lab.data}`]).ended;
    assert.equal(started.code, 0, started.text);
    const stateIs = async (state: string) =>
      (await lab.waitForRun((info) => info.state === state)).run;
    const cli = async (...words: string[]) => {
      const end = await lab.agentkube([...words, `--data=${lab.data}`]).ended;
      return { code: end.code, said: end.stdout.toString("utf8").trim(), all: end.text };
    };

    const run = await stateIs("permission");
    const early = await cli("prompt", run, "too early");
    const shown = await cli("answer", run);
    const unanswered = await cli("answer", run, "--ask", "7");
    const answered = await cli("answer", run, "allow", "--ask", "1");
    await stateIs("idle");
    const none = await cli("answer", run);
    const prompted = await cli("prompt", run, "do it", "--json");
    await stateIs("idle");
    await cli("prompt", run, "and more");
    const interrupted = await cli("interrupt", run);
    await cli("prompt", run, "goodbye");
    await lab.waitForRun((info) => info.phase === "ended");

    assert.deepEqual(
      [early.code, early.said],
      [3, "refused: The CLI is permission and takes no prompt; wait until it is idle"],
    );
    assert.deepEqual([unanswered.code, unanswered.said], [2, ""], unanswered.all);
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
