import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { loadManifests, type ManifestWords } from "../../src/cli/manifests/load.ts";
import { PlatformError } from "../../src/kit/platform-error.ts";

const nothing: ManifestWords = {
  files: [],
  stdin: null,
  runtime: null,
  goal: null,
  modelEndpoint: null,
  givenSecrets: [],
};
const agent = (spec: string, metadata = "{ name: bot }"): string =>
  `apiVersion: agentkube.io/v1alpha1\nkind: Agent\nmetadata: ${metadata}\nspec:\n  runtime: Custom\n  command: [/bin/true]\n${spec}`;
const tool = (name: string, metadata = `{ name: ${name} }`): string =>
  `apiVersion: agentkube.io/v1alpha1\nkind: Tool\nmetadata: ${metadata}\nspec:\n  operations: [{ name: run, command: [/bin/true] }]\n`;

function load(text: string, words: Partial<ManifestWords> = {}) {
  return loadManifests({ ...nothing, files: ["-"], stdin: text, ...words }, "/nowhere");
}

function refusal(text: string, words: Partial<ManifestWords> = {}): PlatformError {
  try {
    load(text, words);
  } catch (error) {
    assert.ok(error instanceof PlatformError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: "expected a refusal" });
}

suite("loadManifests", () => {
  test("finds the Agent, its tools in its order, and the goal of a ConfigMap", () => {
    const loaded = load(
      [
        tool("one"),
        agent("  tools: [two, one]\n  goal: { configMapKeyRef: { name: words, key: goal } }\n"),
        tool("two"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: words }\ndata: { goal: Do it. }\n",
      ].join("---\n"),
    );

    assert.equal(loaded.goal, "Do it.");
    assert.deepEqual(
      loaded.tools.map(({ value, place }) => [value.metadata.name, place.line]),
      [
        ["two", 16],
        ["one", 1],
      ],
    );
    assert.deepEqual(loaded.warnings, []);
  });

  test("names what is not used", () => {
    const loaded = load([agent(""), tool("spare")].join("---\n"));

    assert.deepEqual(loaded.warnings, ['-:8: Tool "spare" is not used by the Agent']);
  });

  const table: [title: string, text: string, says: (string | RegExp)[]][] = [
    [
      "every field at once, with lines",
      agent("  timeout: 5\n  mode: fast\n  colour: red\n"),
      [
        "-:7",
        "spec.timeout: expected string, got a number",
        "-:8",
        "spec.mode",
        '"fast"',
        "-:9",
        "spec.colour: unknown field",
      ],
    ],
    [
      "a deep field",
      agent("  mounts: [{ path: 3, mode: ro }]\n"),
      ["spec.mounts[0].path: expected string, got a number"],
    ],
    [
      "an unknown kind",
      "apiVersion: v1\nkind: Tol\n",
      ['unknown kind "Tol"', "did you mean Tool?"],
    ],
    [
      "an unknown apiVersion",
      "apiVersion: v2\nkind: Secret\nmetadata: { name: x }\n",
      ['unknown apiVersion "v2"', "expected v1"],
    ],
    [
      "a field that is nearly one, at any depth",
      [
        agent("  gaol: { inline: x }\n  limits: { memry: 1Gi }\n  zzzzzzzz: 1\n"),
        tool("one").replace("name: run,", "name: run, comand: [x],"),
      ].join("---\n"),
      [
        "spec.gaol: unknown field; did you mean goal?",
        "spec.limits.memry: unknown field; did you mean memory?",
        /spec\.zzzzzzzz: unknown field$/m,
        "spec.operations[0].comand: unknown field; did you mean command?",
      ],
    ],
    [
      "a size without its unit",
      [
        agent('  limits: { memory: 1, scratch: "512" }\n'),
        tool("one").replace("spec:", "spec:\n  sandbox: { limits: { memory: 64k } }"),
      ].join("---\n"),
      [
        "spec.limits.memory: expected at least 1Mi; a number without a unit is bytes, did you mean 1Gi?",
        "spec.limits.scratch: expected at least 4Ki; a number without a unit is bytes, did you mean 512Mi?",
        /spec\.sandbox\.limits\.memory: expected at least 1Mi(, got|$)/m,
      ],
    ],
    [
      "a choice that is nearly one, in another case",
      agent("").replace("runtime: Custom", "runtime: claude"),
      ['got "claude"; did you mean ClaudeCode?'],
    ],
    [
      "a list that is a string",
      agent("").replace("[/bin/true]", "/bin/true"),
      ["spec.command: expected a list, got a string"],
    ],
    [
      "a time that no timer takes",
      agent("  timeout: 999999h\n"),
      ["spec.timeout: expected a duration of at most 596h"],
    ],
    [
      "a goal that is a string",
      agent("  goal: hi\n"),
      ["spec.goal: expected a mapping with inline or configMapKeyRef, got a string"],
    ],
    ["text that is not YAML", "a: [b\n", ["document 1", "not YAML"]],
    [
      "a line that is indented too far",
      agent("").replace("  command:", "   command:"),
      ["-:5", "look at the indentation of this line and the next"],
    ],
    ["a tab", agent("\ttimeout: 5m\n"), ["a tab indents this line"]],
    ["a field twice", agent("  runtime: Codex\n"), ["-:7", "this field stands here twice"]],
    ["a list instead of a mapping", "- a\n", ["expected a mapping"]],
    ["an empty text", "", ["-"]],
    [
      "two Agents",
      [agent(""), agent("", "{ name: other }")].join("---\n"),
      ["exactly one Agent", '"bot"', '"other"'],
    ],
    ["no Agent", tool("one"), ["exactly one Agent", "none"]],
    [
      "an unknown tool, with a suggestion",
      [agent("  tools: [gihub]\n"), tool("github")].join("---\n"),
      ['unknown tool "gihub"', 'did you mean "github"?'],
    ],
    [
      "a tool of another namespace",
      [
        agent("  tools: [one]\n", "{ name: bot, namespace: a }"),
        tool("one", "{ name: one, namespace: b }"),
      ].join("---\n"),
      ['namespace "b"', '"a"'],
    ],
    [
      "a tool that is there twice",
      [agent("  tools: [one]\n"), tool("one"), tool("one")].join("---\n"),
      ["declared twice"],
    ],
    [
      "a ConfigMap that is not there",
      agent("  goal: { configMapKeyRef: { name: words, key: goal } }\n"),
      ['unknown ConfigMap "words"'],
    ],
    ["paused: true", agent("  paused: true\n"), ["paused"]],
    ["a reserved field", agent("  schedule: daily\n"), ["schedule", "not yet supported"]],
  ];
  for (const [title, text, says] of table) {
    test(`refuses ${title}`, () => {
      const { code, message } = refusal(text);

      assert.equal(code, "invalid_manifest");
      for (const part of says)
        if (typeof part === "string") assert.ok(message.includes(part), `"${part}" in: ${message}`);
        else assert.match(message, part);
    });
  }

  test("never quotes a value of a Secret", () => {
    const { message } = refusal(
      "apiVersion: v1\nkind: Secret\nmetadata: { name: s }\ndata: { a: hunter2-not-base64! }\nextra: hunter2\n---\napiVersion: v1\nkind: Secret\nstringData: { a: [hunter2 }\n",
    );

    assert.doesNotMatch(message, /hunter2/);
    assert.match(message, /data\.a/);
  });

  test("names all problems of all files, and a file that is not there", () => {
    const dir = mkdtempSync(join(tmpdir(), "agentkube-manifests-"));
    try {
      writeFileSync(join(dir, "agent.yaml"), agent("  mode: fast\n"));
      writeFileSync(join(dir, "tool.yaml"), tool("One"));
      const words = { ...nothing, files: ["agent.yaml", "tool.yaml", "absent.yaml"] };

      assert.throws(
        () => loadManifests(words, dir),
        (error: Error) => {
          for (const part of ["agent.yaml:7", "tool.yaml:3", "absent.yaml", "ENOENT"])
            assert.ok(error.message.includes(part), `"${part}" in: ${error.message}`);
          return true;
        },
      );
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test("knows which files hold a Secret, used or not", () => {
    const dir = mkdtempSync(join(tmpdir(), "agentkube-manifests-"));
    try {
      writeFileSync(join(dir, "agent.yaml"), agent(""));
      writeFileSync(
        join(dir, "secret.yaml"),
        "apiVersion: v1\nkind: Secret\nmetadata: { name: s }\n",
      );

      const loaded = loadManifests({ ...nothing, files: ["agent.yaml", "secret.yaml"] }, dir);

      assert.deepEqual(loaded.secretFiles, [join(dir, "secret.yaml")]);
      assert.deepEqual(loaded.files, [join(dir, "agent.yaml"), join(dir, "secret.yaml")]);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

suite("an Agent of words", () => {
  test("--runtime and --goal make one, with the usual secret for the model", () => {
    const loaded = loadManifests({ ...nothing, runtime: "claudecode", goal: "Go" }, "/");

    assert.equal(loaded.agent.metadata.name, "claude-code");
    assert.equal(loaded.agent.spec.runtime, "ClaudeCode");
    assert.equal(loaded.goal, "Go");
    assert.deepEqual(loaded.agent.spec.agentToken?.secretRef, {
      name: "agent-token",
      key: "token",
    });
  });

  test("--model-endpoint sets the endpoint, and may be private because a person named it", () => {
    const loaded = load(agent(""), { modelEndpoint: "http://127.0.0.1:9999" });

    assert.deepEqual(loaded.agent.spec.model?.endpoint, {
      url: "http://127.0.0.1:9999",
      private: true,
    });
  });

  for (const [title, words, code] of [
    ["an unknown runtime", { runtime: "Claude" }, "invalid_manifest"],
    ["Custom without a manifest", { runtime: "Custom" }, "invalid_manifest"],
    ["nothing at all", {}, "invalid_manifest"],
    ["an endpoint that is no URL", { runtime: "Codex", modelEndpoint: "nope" }, "usage"],
    ["an endpoint with a password", { runtime: "Codex", modelEndpoint: "http://a:b@c" }, "usage"],
  ] as const)
    test(`refuses ${title}`, () => {
      assert.throws(() => loadManifests({ ...nothing, ...words }, "/"), { code });
    });

  test("refuses --runtime beside a manifest's Agent", () => {
    assert.match(refusal(agent(""), { runtime: "Codex" }).message, /--runtime/);
  });
});
