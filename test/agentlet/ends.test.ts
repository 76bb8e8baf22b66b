import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { RunReason } from "../../src/protocol/outcome.ts";

const LIFE = "test/agentlet/run-life.test.ts";
const HOSTILE = "test/agentlet/hostile-ends.test.ts";

/** Each reason why a run may end, with a test in which a whole run ends so. */
const ENDS: Record<RunReason, [file: string, title: string]> = {
  completed: [LIFE, "a one-shot Claude Code is judged by its result line, not by a 0 alone"],
  exited: [LIFE, "records what the program wrote, says how it ended, and leaves nothing"],
  signalled: [LIFE, "a program that dies of a signal has failed by it"],
  spawn_failed: [LIFE, "a program that is not there is a failed spawn with its path"],
  result_error: [LIFE, "a one-shot Claude Code without a result line has failed"],
  hung_after_result: [HOSTILE, "after its result: what it said counts, and that it hung"],
  stalled: [HOSTILE, "that says that it is busy and shows no sign of life ends as stalled"],
  timed_out: [LIFE, "a run that takes too long is timed_out"],
  cancelled: [LIFE, "stop ends a program that ignores signals, with its grandchildren"],
  login_lost: [HOSTILE, "for a lost login ends as login_lost"],
  recorder_lost: [LIFE, "without a recorder nothing starts"],
  agentlet_fault: ["test/agentlet/main.test.ts", "ends the run as agentlet_fault, and zone A"],
  not_started: [LIFE, "a zone that cannot be had is a refusal, and the recording says so"],
};

test("each reason of the closed list is reached by a whole run in a test that is there", () => {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const missing = Object.entries(ENDS).filter(([reason, [file, title]]) => {
    const text = existsSync(join(root, file)) ? readFileSync(join(root, file), "utf8") : "";
    const at = text.indexOf(title);
    // Only what stands in that test, up to the next one, is looked at.
    const body = at === -1 ? "" : (text.slice(at).split(/\n {2}test\(/)[0] ?? "");
    return !body.includes(`"${reason}"`);
  });

  assert.deepEqual(missing, []);
  assert.deepEqual(Object.keys(ENDS).toSorted(), [...RunReason.options].toSorted());
});
