import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { openLab, type CliEnd } from "../helpers/lab.ts";

/** The keys and types of a document, as a program relies on them; a list is told by its first element. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? [] : [shapeOf(value[0])];
  if (value === null) return null;
  if (typeof value !== "object") return typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shapeOf(inner)]));
}

/** One document as the last line, and nothing that is no line. */
function documentOf(end: CliEnd): unknown {
  const text = end.stdout.toString("utf8");
  assert.ok(text.endsWith("}\n"), end.text);
  return JSON.parse(text.trimEnd().split("\n").at(-1) ?? "");
}

const CALL = { tool: "string", operation: "string", outcome: "string", durationMs: "number" };

suite("what programs read", () => {
  test("has the keys and types that are promised, as the last line", async () => {
    await using lab = openLab();
    lab.write("greet/hello", "#!/bin/sh\necho hello\n", 0o755);
    const tool = lab.write("tool.yaml", {
      apiVersion: "agentkube.io/v1alpha1",
      kind: "Tool",
      metadata: { name: "greet" },
      spec: { package: "./greet", operations: [{ name: "say", command: ["./hello"] }] },
    });
    const agent = lab.write("agent.yaml", {
      apiVersion: "agentkube.io/v1alpha1",
      kind: "Agent",
      metadata: { name: "reader" },
      spec: {
        runtime: "Custom",
        command: ["/bin/sh", "-c", "greet say; exit 4"],
        tools: ["greet"],
      },
    });

    const ran = await lab.run([agent, tool]).ended;
    const run = documentOf(ran) as { run: string; recording: { path: string } };
    const data = `--data=${lab.data}`;
    const called = await lab.agentkube(["tool", "call", tool, "say", data, "--json"]).ended;
    const verified = await lab.agentkube(["recording", "verify", run.recording.path, "--json"])
      .ended;
    const doctor = await lab.agentkube(["doctor", data, "--json"]).ended;

    assert.doesNotMatch(ran.text, /token=/);
    assert.deepEqual(shapeOf(run), {
      run: "string",
      agent: "string",
      outcome: "string",
      reason: "string",
      exitCode: "number",
      signal: null,
      recording: { path: "string", bytes: "number", sha256: "string", verified: "boolean" },
      calls: [CALL],
      page: "string",
    });
    assert.deepEqual(shapeOf(documentOf(called)), {
      outcome: "string",
      exitCode: "number",
      stdout: "string",
      stderr: "string",
      tier: "string",
      durationMs: "number",
      requests: [],
    });
    const { proof, ...promised } = documentOf(verified) as Record<string, unknown>;
    assert.equal(typeof proof, "object");
    assert.deepEqual(shapeOf(promised), {
      ok: "boolean",
      events: "number",
      bytes: "number",
      sha256: "string",
      problems: [],
    });
    const { tiers, runtimes } = documentOf(doctor) as Record<string, Record<string, unknown>[]>;
    for (const tier of tiers ?? [])
      assert.deepEqual(Object.keys(tier).sort(), ["available", "error", "fix", "tier"]);
    for (const runtime of runtimes ?? [])
      assert.deepEqual(Object.keys(runtime).sort(), ["found", "runtime", "version"]);
    assert.deepEqual([tiers?.length, runtimes?.length], [4, 7]);
    assert.deepEqual([ran.code, called.code, verified.code], [4, 0, 0]);
  });
});
