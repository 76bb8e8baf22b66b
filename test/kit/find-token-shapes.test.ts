import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { findTokenShapes } from "../../src/kit/find-token-shapes.ts";

suite("what looks like a token", () => {
  test("is named by its kind, at the end of a text too", () => {
    const github = `ghp_${"a1B2".repeat(9)}`;
    const jwt = `eyJ${"hbGciOi".repeat(3)}.${"eyJzdWIi".repeat(3)}.${"sig0".repeat(5)}`;

    assert.deepEqual(findTokenShapes(`your token: ${github}`), ["github"]);
    assert.deepEqual(findTokenShapes(`${jwt} and ${github}.`), ["github", "jwt"]);
    assert.deepEqual(findTokenShapes(`-----BEGIN PRIVATE KEY-----\n${"MC4CAQAw".repeat(12)}`), [
      "private-key",
    ]);
  });

  test("is not prose, a mask, a part of a longer word, or too short", () => {
    for (const text of [
      "the prefix ghp_ marks tokens",
      `ghp_${"*".repeat(36)}`,
      `xghp_${"a1B2".repeat(9)}`,
      "ghp_short",
      "task-manager-and-other-long-names-with-dashes",
      "",
    ])
      assert.deepEqual(findTokenShapes(text), [], text);
  });

  test("a text of nothing but beginnings is named, not followed for seconds", () => {
    // None of them is a token: what says so was not looked at to the end.
    assert.deepEqual(findTokenShapes("eyJhbGciOi.".repeat(90_000)), ["jwt"]);
    assert.deepEqual(findTokenShapes("eyJhbGciOi.".repeat(100)), []);
  });
});
