import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { agentOfManifest } from "../../src/cli/agent-part.ts";
import { synthesise } from "../../src/cli/manifests/from-words.ts";
import { modelKeyOf } from "../../src/cli/model-key.ts";
import { Agent } from "../../src/protocol/agent-manifest.ts";

const KEY = Buffer.from("a-key-of-a-model");

function agentWith(spec: object): Agent {
  return Agent.parse({
    apiVersion: "agentkube.io/v1alpha1",
    kind: "Agent",
    metadata: { name: "it" },
    spec,
  });
}

suite("what a mode cannot keep is refused", () => {
  const refusal = (spec: object, mode: "system" | "supervised" = "system") => {
    try {
      agentOfManifest(agentWith(spec).spec, mode);
      return null;
    } catch (error) {
      assert(error instanceof Error && "code" in error && "path" in error && "fix" in error);
      assert.equal(error.code, "invalid_manifest");
      assert.match(String(error.fix), /mode: supervised/);
      return error.path;
    }
  };

  test("a policy that limits has no effect one-shot, and is refused by name; one that allows, and none, run", () => {
    for (const runtime of ["ClaudeCode", "Codex", "OpenCode", "Aider", "Cline", "Goose"]) {
      const list = [{ tool: "Bash", answer: "deny" }];
      assert.equal(refusal({ runtime, approvals: "ask" }), "spec.approvals");
      assert.equal(refusal({ runtime, approvals: "deny" }), "spec.approvals");
      assert.equal(refusal({ runtime, approvals: list }), "spec.approvals");
      assert.equal(refusal({ runtime, approvalTimeout: "5m" }), "spec.approvalTimeout");
      assert.equal(refusal({ runtime, approvals: "allow" }), null);
      assert.equal(refusal({ runtime }), null);
      assert.equal(
        refusal({ runtime, approvals: list, approvalTimeout: "5m" }, "supervised"),
        null,
      );
    }
  });

  test("a program of no known kind is answered in either mode", () => {
    assert.equal(refusal({ runtime: "Custom", command: ["x"], approvals: "deny" }), null);
  });
});

suite("a key that Cursor could only have in zone A", () => {
  test("is refused brokered, from words and from a manifest that names no agentToken", () => {
    const ofWords = synthesise("Cursor", [], []);
    assert(ofWords !== null);

    for (const agent of [ofWords, agentWith({ runtime: "Cursor" })])
      assert.throws(() => modelKeyOf(agent, KEY), /Cursor has no custom endpoint, so brokered/);
  });

  test("is delivered when the manifest says env", () => {
    const secretRef = { name: "agent-token", key: "token" };
    const agent = agentWith({ runtime: "Cursor", agentToken: { secretRef, delivery: "env" } });

    assert.deepEqual(modelKeyOf(agent, KEY), { modelKey: null, zoneModelKey: KEY });
  });
});
