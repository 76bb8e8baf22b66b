// A run that goes on with the session of an older one, by `agentkube run --resume`, with the real CLIs.
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { zstdDecompressSync } from "node:zlib";
import { knownRuntimes } from "../../src/protocol/runtimes.ts";
import { KeptSession } from "../../src/protocol/kept-session.ts";
import type { Runtime } from "../../src/protocol/runtimes.ts";
import type { RunResult } from "../../src/protocol/results.ts";
import { openFakeModel } from "../helpers/fake-model.ts";
import type { FakeModel } from "../helpers/fake-model.ts";
import { openLab, resultOf } from "../helpers/lab.ts";
import type { Lab } from "../helpers/lab.ts";
import { LONG_MS, manifestsOf, MODEL_KEY, openSession, skipWithout } from "./session.ts";
import type { SessionOptions } from "./session.ts";

const FIRST = "[[tool *clock_run {}]] [[say I keep the word juniper.]]";
const SECOND = "[[tool *clock_run {}]] [[say That is all.]] Which word was it?";

/** Both runs, in one lab. The second one's requests come last. */
async function runAndResume(
  lab: Lab,
  model: FakeModel,
  options: SessionOptions,
): Promise<{ first: RunResult; second: RunResult; asked: string[] }> {
  const words = manifestsOf(lab, model, { mode: "system", goal: FIRST, ...options });
  const first = resultOf(await lab.run(words, { timeoutMs: LONG_MS }).ended);
  const seen = model.requests.length;
  const again = [...words, "--resume", first.run, "--goal", SECOND];
  const end = await lab.run(again, { timeoutMs: LONG_MS }).ended;
  const asked = model.requests.slice(seen).map(({ body }) => body);
  return { first, second: resultOf(end), asked };
}

/** What is kept of a run's session. */
function keptOf(lab: Lab, run: string, runtime: Runtime): string {
  const file = path.join(lab.data, "runs", run, "session");
  const kept = readFileSync(file);
  const at = kept.indexOf(0x0a);
  const head = KeptSession.parse(JSON.parse(kept.toString("utf8", 0, at)));
  assert.deepEqual([head.run, head.runtime], [run, runtime]);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  return zstdDecompressSync(kept.subarray(at + 1)).toString("latin1");
}

suite("a run that resumes an older one", () => {
  for (const runtime of ["ClaudeCode", "Codex", "OpenCode", "Goose", "Aider"] as const)
    test(
      `${runtime}: remembers, one-shot, and what is kept holds no key`,
      { skip: skipWithout(knownRuntimes[runtime].program) },
      async () => {
        await using lab = openLab();
        await using model = await openFakeModel(MODEL_KEY);

        const { first, second, asked } = await runAndResume(lab, model, { runtime });

        assert.deepEqual([first.outcome, second.outcome], ["succeeded", "succeeded"]);
        assert.notEqual(first.run, second.run);
        assert.deepEqual(
          [...first.calls, ...second.calls].map(({ tool, outcome }) => [tool, outcome]),
          runtime === "Aider"
            ? []
            : [
                ["clock", "completed"],
                ["clock", "completed"],
              ],
          // Which request was sent without the tool, and what its use gave.
          model.requests
            .map(({ path, body }) => `${path} ${body.includes("clock_run")} ${body.slice(-300)}`)
            .join("\n"),
        );
        assert.ok(asked.some((body) => body.includes("juniper") && body.includes("Which word")));
        const held = keptOf(lab, first.run, runtime);
        assert.ok(held.includes("juniper"));
        assert.ok(!held.includes(MODEL_KEY));
        assert.deepEqual(await lab.leftovers(), []);
      },
    );

  for (const runtime of ["ClaudeCode", "Codex", "OpenCode", "Cline", "Goose", "Aider"] as const)
    test(
      `${runtime}: remembers in its own terminal, and its session is kept again`,
      { skip: skipWithout(knownRuntimes[runtime].program) },
      async () => {
        await using lab = openLab();
        await using model = await openFakeModel(MODEL_KEY);
        const words = manifestsOf(lab, model, { runtime, mode: "system", goal: FIRST });
        const first = resultOf(await lab.run(words, { timeoutMs: LONG_MS }).ended);
        const seen = model.requests.length;

        await using session = await openSession({
          runtime,
          goal: SECOND,
          spec: { approvals: "allow" },
          attached: false,
          resumes: { lab, model, run: first.run },
        });
        const asked = () => model.requests.slice(seen).map(({ body }) => body);
        await session.until(
          () => asked().some((body) => body.includes("juniper") && body.includes("Which word")),
          "a request with what was said in both runs",
        );
        const busy = (await session.states()).findIndex(({ state }) => state === "busy");
        await session.waitFor(({ state }) => state === "idle", busy + 1);
        const second = await session.stop();

        assert.deepEqual(
          second.calls.map(({ outcome }) => outcome),
          runtime === "Aider" ? [] : ["completed"],
        );
        assert.ok(keptOf(lab, second.run, runtime).includes("Which word"));
        assert.deepEqual(await lab.leftovers(), []);
      },
    );
});
