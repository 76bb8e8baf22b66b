import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { openLab, resultOf } from "../helpers/lab.ts";
import type { CliOptions, Lab } from "../helpers/lab.ts";
import { aTool, anAgent, writePackage } from "../helpers/manifests.ts";

interface BadInput {
  name: string;
  /** Prepares the lab and gives the words of `run`. */
  words: (lab: Lab) => string[] | { words: string[]; options: CliOptions };
  code: number;
  /** every one has to stand in what the person reads */
  says: (lab: Lab) => (string | RegExp)[];
}

const ok = anAgent("echo hello");
const agentFile = (lab: Lab, agent: object = ok) => lab.write("agent.yaml", agent);
const withTool = (lab: Lab, spec: object, script = "echo hello") => {
  writePackage(path.join(lab.config, "thing"), "#!/bin/sh\necho thing\n");
  return [
    lab.write("agent.yaml", anAgent(script, { tools: ["thing"] })),
    lab.write("tool.yaml", aTool("thing", spec)),
  ];
};
const credential = {
  name: "service",
  secretRef: { name: "service-token", key: "token" },
  http: { hosts: ["api.example.com"], methods: ["GET"], paths: ["/v1/"], header: "Authorization" },
};

const TABLE: BadInput[] = [
  {
    name: "an unknown field",
    words: (lab) => [agentFile(lab, anAgent("true", { recordng: { enabled: true } }))],
    code: 2,
    says: () => ["agent.yaml", "recordng"],
  },
  {
    name: "a wrong type",
    words: (lab) => [agentFile(lab, anAgent("true", { tools: "thing" }))],
    code: 2,
    says: () => ["agent.yaml", "spec.tools", /expected a list/],
  },
  {
    name: "several mistakes, all named at once",
    words: (lab) => [
      agentFile(lab, anAgent("true", { timeout: "soon", mode: "fast", colour: "red" })),
    ],
    code: 2,
    says: () => ["spec.timeout", "spec.mode", "colour"],
  },
  {
    name: "text that is not YAML",
    words: (lab) => [lab.write("agent.yaml", "a: [b\nc: }")],
    code: 2,
    says: () => ["agent.yaml"],
  },
  {
    name: "an unknown kind",
    words: (lab) => [
      lab.write("agent.yaml", {
        apiVersion: "agentkube.io/v1alpha1",
        kind: "Agnet",
        metadata: { name: "x" },
        spec: {},
      }),
    ],
    code: 2,
    says: () => ["Agnet", "Agent"],
  },
  {
    name: "a manifest that is not there",
    words: (lab) => [path.join(lab.config, "nothing.yaml")],
    code: 2,
    says: (lab) => [path.join(lab.config, "nothing.yaml")],
  },
  { name: "no manifest and no runtime", words: () => [], code: 2, says: () => [/--runtime/] },
  {
    name: "an unknown option",
    words: (lab) => [agentFile(lab), "--worksapce", "/tmp"],
    code: 2,
    says: () => ["--worksapce", "--workspace"],
  },
  {
    name: "paused: true",
    words: (lab) => [agentFile(lab, anAgent("true", { paused: true }))],
    code: 2,
    says: () => ["paused"],
  },
  {
    name: "a reserved field",
    words: (lab) => [agentFile(lab, anAgent("true", { schedule: "daily" }))],
    code: 2,
    says: () => ["schedule", "not yet supported"],
  },
  {
    name: "an unknown tool",
    words: (lab) => [agentFile(lab, anAgent("true", { tools: ["absent"] }))],
    code: 2,
    says: () => ["absent", "Tool"],
  },
  {
    name: "a missing executable in a package",
    words: (lab) => withTool(lab, { operations: [{ name: "run", command: ["./absent"] }] }),
    code: 2,
    says: () => ['Tool \\"thing\\"', 'expected \\"absent\\"'],
  },
  {
    name: "a package that is not there",
    words: (lab) => [
      lab.write("agent.yaml", anAgent("true", { tools: ["ghost"] })),
      lab.write("tool.yaml", aTool("ghost")),
    ],
    code: 2,
    says: (lab) => [path.join(lab.config, "ghost")],
  },
  {
    name: "a missing secret",
    words: (lab) =>
      withTool(lab, {
        credentials: [credential],
        sandbox: { network: [{ host: "api.example.com" }] },
      }),
    code: 2,
    says: () => ["service-token/token", "--secret"],
  },
  {
    name: "an empty secret",
    words: (lab) => [
      ...withTool(lab, {
        credentials: [credential],
        sandbox: { network: [{ host: "api.example.com" }] },
      }),
      `--secret=service-token/token=@${lab.write("empty", "", 0o600)}`,
    ],
    code: 2,
    says: () => ["service-token/token", /empty/],
  },
  {
    name: "a credential for a host outside the network",
    words: (lab) => [
      ...withTool(lab, { credentials: [credential] }),
      `--secret=service-token/token=@${lab.write("token", "0123456789abcdef0123", 0o600)}`,
    ],
    code: 2,
    says: () => ["api.example.com", "network"],
  },
  {
    name: "a secret file inside the workspace",
    words: (lab) => {
      const file = path.join(lab.workspace, "token");
      writeFileSync(file, "0123456789abcdef0123", { mode: 0o600 });
      const spec = {
        credentials: [credential],
        sandbox: { network: [{ host: "api.example.com" }] },
      };
      return [...withTool(lab, spec), `--secret=service-token/token=@${file}`];
    },
    code: 3,
    says: (lab) => [path.join(lab.workspace, "token"), lab.workspace],
  },
  {
    name: "a workspace that contains the data directory",
    words: (lab) => ["--workspace", lab.root, agentFile(lab)],
    code: 3,
    says: (lab) => [lab.root, lab.data],
  },
  {
    name: "a workspace that is a link to such a directory",
    words: (lab) => {
      const link = path.join(lab.workspace, "link");
      symlinkSync(lab.root, link);
      return ["--workspace", link, agentFile(lab)];
    },
    code: 3,
    says: (lab) => [lab.root, lab.data],
  },
  {
    name: "a workspace that is not there",
    words: (lab) => ["--workspace", path.join(lab.root, "nowhere"), agentFile(lab)],
    code: 2,
    says: (lab) => [path.join(lab.root, "nowhere")],
  },
  {
    name: "a runtime that is not installed",
    words: (lab) => ({
      words: [
        "--runtime",
        "ClaudeCode",
        "--goal",
        "x",
        `--secret=agent-token/token=@${lab.write("key", "sk-0123456789abcdef", 0o600)}`,
      ],
      options: { env: { PATH: "/usr/bin:/bin" } },
    }),
    code: 3,
    says: () => ["claude", "PATH"],
  },
  {
    name: "no bubblewrap",
    words: (lab) => {
      // A PATH with everything but bwrap, and no other place to find one.
      const bin = path.join(lab.root, "bin");
      mkdirSync(bin);
      for (const dir of ["/usr/bin", "/bin"])
        for (const name of readdirSync(dir))
          if (name !== "bwrap" && !existsSync(path.join(bin, name)))
            symlinkSync(path.join(dir, name), path.join(bin, name));
      return { words: [agentFile(lab)], options: { env: { PATH: bin } } };
    },
    code: 3,
    says: () => ["bwrap", /install/],
  },
  {
    name: "a data directory that cannot be made",
    words: (lab) => ["--data", path.join(lab.write("file", ""), "data"), agentFile(lab)],
    code: 3,
    says: (lab) => [path.join(lab.config, "file/data")],
  },
];

suite("run refuses, says why, and leaves nothing behind:", () => {
  for (const { name, words, code, says } of TABLE) {
    test(name, async () => {
      await using lab = openLab();
      const given = words(lab);
      const { words: list, options } = Array.isArray(given) ? { words: given, options: {} } : given;

      const end = await lab.run(list, options).ended;

      assert.equal(end.code, code, end.text);
      for (const part of says(lab)) {
        if (typeof part === "string")
          assert.ok(end.text.includes(part), `expected "${part}" in:\n${end.text}`);
        else assert.match(end.text, part);
      }
      assert.doesNotMatch(end.text, /\n\s+at /, "a stack trace is not for people");
      assert.deepEqual(await lab.leftovers(), []);
    });
  }

  test(
    "a data directory that is not writable",
    { skip: process.getuid?.() === 0 ? "root can write everywhere" : false },
    async () => {
      await using lab = openLab();
      mkdirSync(lab.data, { mode: 0o500 });
      chmodSync(lab.data, 0o500);

      const end = await lab.run([agentFile(lab)]).ended;

      assert.equal(end.code, 3, end.text);
      assert.ok(end.text.includes(lab.data), end.text);
    },
  );
});

suite("run copes with", () => {
  test("a program that is not there: spawn_failed, naming it", async () => {
    await using lab = openLab();

    const end = await lab.run([agentFile(lab, anAgent("", { command: ["/nowhere/program"] }))])
      .ended;

    assert.notEqual(end.code, 0, end.text);
    assert.ok(end.text.includes("/nowhere/program"), end.text);
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("a data directory of 200 characters, and one with blanks and quotes", async () => {
    await using lab = openLab();
    const long = path.join(lab.root, "d".repeat(200), `it's a "dir"`);
    const agent = agentFile(lab);

    const end = await lab.agentkube([
      "run",
      "--json",
      "--data",
      long,
      "--workspace",
      lab.workspace,
      agent,
    ]).ended;

    assert.equal(end.code, 0, end.text);
    assert.equal(resultOf(end).recording?.verified, true);
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("arguments that do not fit the schema: the call is refused, the tool never starts", async () => {
    await using lab = openLab();
    const operation = {
      name: "run",
      command: ["./tool", "{{count}}"],
      inputSchema: {
        type: "object",
        properties: { count: { type: "integer" }, note: { type: "string" } },
        required: ["count"],
        additionalProperties: false,
      },
    };
    const words = withTool(
      lab,
      { operations: [operation] },
      "thing run --count many; echo code $?; thing run --cuont 3; echo code $?; thing run --count 3; echo code $?",
    );

    const end = await lab.run(words).ended;
    const result = resultOf(end);
    const raw = (
      await lab.agentkube(["recording", "cat", result.run, "--raw", "--data", lab.data]).ended
    ).stdout.toString();

    assert.equal(result.outcome, "succeeded", end.text);
    assert.match(
      raw,
      /count[\s\S]*code (?!0)\d+[\s\S]*cuont[\s\S]*code (?!0)\d+[\s\S]*thing\r\ncode 0/,
    );
    assert.deepEqual(result.calls.filter(({ outcome }) => outcome === "completed").length, 1);
  });

  test("the program's own exit code, and signals", async () => {
    await using lab = openLab();

    const seven = await lab.run([agentFile(lab, anAgent("exit 7"))]).ended;
    const term = await lab.run([agentFile(lab, anAgent("kill -TERM $$"))]).ended;

    assert.equal(seven.code, 7, seven.text);
    assert.deepEqual(
      [resultOf(seven).outcome, resultOf(seven).reason, resultOf(seven).exitCode],
      ["failed", "exited", 7],
    );
    assert.equal(term.code, 143, term.text);
    assert.deepEqual(
      [resultOf(term).reason, resultOf(term).exitCode, resultOf(term).signal],
      ["signalled", null, "SIGTERM"],
    );
  });

  test("a timeout: 124, timed_out, everything gone", async () => {
    await using lab = openLab();
    const script = "trap '' INT TERM HUP; setsid sleep 1000 & while :; do sleep 1; done";

    const end = await lab.run([agentFile(lab, anAgent(script, { timeout: "1s" }))]).ended;

    assert.equal(end.code, 124, end.text);
    assert.equal(resultOf(end).reason, "timed_out");
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("SIGINT to run: cancelled, 130, within 10 s", async () => {
    await using lab = openLab();
    const cli = lab.run([
      agentFile(lab, anAgent("trap '' INT TERM; echo up; while :; do sleep 1; done")),
    ]);
    await lab.waitForRun(({ phase }) => phase === "running");

    cli.child.kill("SIGINT");
    const asked = performance.now();
    const end = await cli.ended;

    assert.ok(performance.now() - asked < 10_000);
    assert.equal(end.code, 130, end.text);
    assert.deepEqual([resultOf(end).outcome, resultOf(end).reason], ["cancelled", "cancelled"]);
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("a second run beside the first: one manager, two whole records", async () => {
    await using lab = openLab();
    const agent = agentFile(lab, anAgent("echo begin; sleep 2; echo end"));

    const first = lab.run([agent]);
    await lab.waitForRun();
    const pid = lab.manager().pid;
    const second = lab.run([agent]);
    await lab.waitForRun(({ run }) => run !== undefined && lab.manager().pid === pid);
    const ends = await Promise.all([first.ended, second.ended]);

    for (const end of ends) {
      assert.equal(end.code, 0, end.text);
      assert.equal(resultOf(end).recording?.verified, true);
    }
    assert.notEqual(resultOf(ends[0]).run, resultOf(ends[1]).run);
    assert.deepEqual(await lab.leftovers(), []);
  });
});
