import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ToolExplanation } from "../../src/protocol/results.ts";
import { lastDocument, PreparedData } from "./prepared-data.ts";

const agentkube = fileURLToPath(new URL("../../bin/agentkube.js", import.meta.url));
const interpreters = {
  sh: "/bin/sh",
  node: "/usr/bin/node",
  python: "/usr/bin/python3",
  mcp: "/usr/bin/node",
};

suite("agentkube tool new", () => {
  for (const [language, interpreter] of Object.entries(interpreters)) {
    const skip = existsSync(interpreter) ? false : `${interpreter} is not installed`;
    test(
      `makes a tool in ${language} that passes its check and its own test`,
      { skip },
      async () => {
        using data = new PreparedData();

        const made = await data.run("tool", "new", "greeter", "--lang", language, "--json");
        const checked = await data.run("tool", "check", "greeter");
        const tested = execFileSync(join(data.root, "greeter/test.sh"), {
          encoding: "utf8",
          env: {
            PATH: process.env["PATH"],
            HOME: data.root,
            AGENTKUBE_DATA: data.data,
            AGENTKUBE: agentkube,
          },
        });

        assert.deepEqual(lastDocument(made)["problems"], []);
        assert.equal(checked.stdout, "OK  greeter: greet\n", checked.stderr);
        assert.equal(tested, "ok\n");
        assert.match(readFileSync(join(data.root, "greeter/README.md"), "utf8"), /greeter_greet/);
      },
    );
  }

  test("touches nothing that is there, and says what a name or a language may be", async () => {
    using data = new PreparedData();
    data.write("mine/notes.txt", "mine");

    const there = await data.run("tool", "new", "mine", "--lang", "sh");
    const name = await data.run("tool", "new", "Not_A_Name", "--lang", "sh");
    const language = await data.run("tool", "new", "other", "--lang", "pyton");
    const none = await data.run("tool", "new", "other");

    assert.deepEqual([there.code, name.code, language.code, none.code], [2, 2, 2, 2]);
    assert.match(there.stderr, /is there already/);
    assert.match(language.stderr, /did you mean --lang python/);
    assert.match(none.stderr, /sh\|node\|python\|mcp/);
    assert.deepEqual(readdirSync(join(data.root, "mine")), ["notes.txt"]);
    assert.equal(statSync(join(data.root, "other"), { throwIfNoEntry: false }), undefined);
  });
});

suite("agentkube tool call --explain", () => {
  test("prints what a call would get and runs nothing, without a secret", async () => {
    using data = new PreparedData();
    data.write(
      "tool.yaml",
      `
apiVersion: agentkube.io/v1alpha1
kind: Tool
metadata: { name: box }
spec:
  operations:
    - name: go
      command: [/usr/bin/touch, "{{file}}"]
      inputSchema: { type: object, properties: { file: { type: string } }, required: [file], additionalProperties: false }
  sandbox:
    workspace: rw
    network: [{ host: api.example.com }]
    env: { COLOUR: blue }
    limits: { memory: 64Mi }
  credentials:
    - name: api
      secretRef: { name: demo, key: token }
      http: { hosts: [api.example.com], methods: [GET], paths: [/v1/], header: Authorization }
    - { name: key, secretRef: { name: demo, key: other }, env: KEY }
`,
    );
    data.write("work/.keep", "");

    const end = await data.run(
      "tool",
      "call",
      "tool.yaml",
      "go",
      "--args",
      '{"file":"made"}',
      "--workspace",
      "work",
      "--explain",
      "--json",
    );
    const open = await data.run(
      "tool",
      "call",
      "tool.yaml",
      "go",
      "--workspace",
      "work",
      "--explain",
    );
    const wrong = await data.run(
      "tool",
      "call",
      "tool.yaml",
      "go",
      "--args",
      "{}",
      "--workspace",
      "work",
      "--explain",
    );

    const explained = ToolExplanation.parse(lastDocument(end));
    assert.deepEqual(explained.argv, ["/usr/bin/touch", "made"]);
    assert.equal(explained.cwd, "/workspace");
    assert.equal(explained.limits.memoryBytes, 64 * 1024 * 1024);
    assert.ok(
      explained.env.includes("COLOUR") &&
        explained.env.includes("KEY") &&
        explained.env.includes("HTTPS_PROXY"),
    );
    assert.deepEqual(explained.network, ["api.example.com:443"]);
    assert.deepEqual(
      explained.credentials.map(({ name, secret, delivery, exposure }) => [
        name,
        secret,
        delivery,
        exposure,
      ]),
      [
        ["api", "demo/token", "http", "none"],
        ["key", "demo/other", "env KEY", "tool"],
      ],
    );
    assert.ok(
      explained.mounts.some(
        ({ target, source }) =>
          target === "/workspace" && /^a private copy of .*\/work$/.test(source),
      ),
    );
    assert.equal(end.stdout.includes("blue"), false);
    assert.match(open.stdout, /"\{\{file\}\}"/);
    assert.equal(wrong.code, 3);
    assert.match(wrong.stderr, /Arguments do not fit/);
    assert.deepEqual(readdirSync(join(data.root, "work")), [".keep"]);
  });
});
