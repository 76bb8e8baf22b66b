import assert from "node:assert/strict";
import path from "node:path";
import { suite, test } from "node:test";
import { openLab, repository, resultOf } from "../helpers/lab.ts";

suite("the plain example", () => {
  test("runs as it is: its agent calls its tool", async () => {
    await using lab = openLab();
    const files = ["agent.yaml", "tool.yaml"].map((name) =>
      path.join(repository, "examples/plain", name),
    );

    const end = await lab.run(files).ended;

    assert.equal(resultOf(end).outcome, "succeeded", end.text);
    assert.deepEqual(
      resultOf(end).calls.map(({ tool, operation, outcome }) => [tool, operation, outcome]),
      [["count", "lines", "completed"]],
    );
    const cat = await lab.agentkube(["recording", "cat", resultOf(end).run, "--data", lab.data])
      .ended;
    assert.match(cat.text, /lines\.txt: 3 lines/);
  });
});
