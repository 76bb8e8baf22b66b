import assert from "node:assert/strict";
import { chmodSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import type { Operation, ToolSpec } from "../../src/protocol/tool-manifest.ts";
import { checkTool } from "../../src/tool-runner/local-call.ts";
import { loadTool, loadTools } from "../../src/tool-runner/tools.ts";
import { aShellTool, aTool, temporaryDirectory } from "./support.ts";

const operation = (more: Partial<Operation>): Operation => ({
  name: "go",
  command: ["/bin/true"],
  ...more,
});

suite("loadTool", () => {
  test("fills in the documented defaults", () => {
    const { tool, problems } = loadTool(aShellTool("true"));

    assert.deepEqual(problems, []);
    assert.deepEqual(tool.sandbox, {
      workspace: "none",
      network: [],
      env: {},
      timeoutMs: 60_000,
      memoryBytes: 512 * 1024 ** 2,
      processes: 64,
      scratchBytes: 256 * 1024 ** 2,
      outputBytes: 1024 ** 2,
      filesBytes: 4 * 1024 * 1024,
      cpuMs: 60_000,
      tier: "standard",
    });
  });

  for (const [name, change, path, problem] of [
    [
      "a template without an argument",
      { command: ["/bin/true", "{{x}}"] },
      "spec.operations[0].command[1]",
      /"x" is not a property/,
    ],
    [
      "a program from an argument",
      { command: ["/bin/{{x}}"], inputSchema: { type: "object", properties: { x: {} } } },
      "spec.operations[0].command[0]",
      /cannot come from/,
    ],
    [
      "braces that do not match",
      { command: ["/bin/true", "{{x"] },
      "spec.operations[0].command[1]",
      /do not match/,
    ],
    [
      "a program found by PATH",
      { command: ["true"] },
      "spec.operations[0].command[0]",
      /neither absolute/,
    ],
    [
      "a program that is missing",
      { command: ["/usr/bin/no-such-program"] },
      "spec.operations[0].command[0]",
      /"\/usr\/bin\/no-such-program" does not exist/,
    ],
    [
      "a program of the agent's",
      { command: ["/workspace/x"] },
      "spec.operations[0].command[0]",
      /not in the tool's sandbox/,
    ],
    [
      "a package file without a package",
      { command: ["./x"] },
      "spec.operations[0].command[0]",
      /the tool has none/,
    ],
    [
      "a schema that is no object",
      { inputSchema: { type: "string" } },
      "spec.operations[0].inputSchema.type",
      /expected "object"/,
    ],
    [
      "a schema that is none",
      { inputSchema: { type: "object", properties: { a: { type: "strin" } } } },
      "spec.operations[0].inputSchema",
      /type/,
    ],
    [
      "allowDash of nothing",
      { allowDash: ["y"] },
      "spec.operations[0].allowDash",
      /"y" is not a property/,
    ],
  ] as const) {
    test(`refuses ${name}`, () => {
      const [first] = checkTool(aTool({ operations: [operation(change as Partial<Operation>)] }));

      assert.equal(first?.path, path);
      assert.match(first?.problem ?? "", problem);
    });
  }

  for (const [name, spec, path] of [
    [
      "a loader variable",
      { sandbox: { env: { LD_PRELOAD: "/x.so" } } },
      "spec.sandbox.env.LD_PRELOAD",
    ],
    ...[
      "PERLLIB",
      "DOTNET_STARTUP_HOOKS",
      "AWKPATH",
      "AWKLIBPATH",
      "LESSOPEN",
      "GEM_PATH",
      "BUNDLE_GEMFILE",
      "ZDOTDIR",
    ].map(
      (name) => [name, { sandbox: { env: { [name]: "/x" } } }, `spec.sandbox.env.${name}`] as const,
    ),
    [
      "a proxy variable",
      { sandbox: { env: { HTTPS_PROXY: "http://x" } } },
      "spec.sandbox.env.HTTPS_PROXY",
    ],
    [
      "a git hook variable",
      { sandbox: { env: { GIT_SSH_COMMAND: "sh" } } },
      "spec.sandbox.env.GIT_SSH_COMMAND",
    ],
    [
      "a credential as loader variable",
      { credentials: [{ name: "a", secretRef: { name: "s", key: "k" }, env: "NODE_OPTIONS" }] },
      "spec.credentials[0].env",
    ],
    [
      "a credential over the system",
      { credentials: [{ name: "a", secretRef: { name: "s", key: "k" }, file: "/usr/bin/sh" }] },
      "spec.credentials[0].file",
    ],
    [
      "a credential path with dots",
      { credentials: [{ name: "a", secretRef: { name: "s", key: "k" }, file: "/run/../usr/x" }] },
      "spec.credentials[0].file",
    ],
    ["a stronger tier than there is", { sandbox: { tier: "pod" } }, "spec.sandbox.tier"],
    ["an image without a package", { image: "example.test/x:1" }, "spec.image"],
    [
      "an MCP server that has operations with commands, too",
      { mcp: { command: ["/bin/true"] } },
      "spec.mcp",
    ],
  ] as const) {
    test(`refuses ${name} by name`, () => {
      const problems = checkTool(aShellTool("true", spec as unknown as Partial<ToolSpec>));

      assert.deepEqual(
        problems.map((problem) => problem.path),
        [path],
      );
    });
  }

  test("refuses result files of an MCP server, which gives its files in answers", () => {
    const { operations: _, ...tool } = aShellTool("true", {
      mcp: { command: ["/bin/true"] },
      sandbox: { limits: { files: "1Mi" } },
    }).spec;
    const [problem, ...more] = checkTool({ ...aShellTool("true"), spec: tool });

    assert.deepEqual([problem?.path, more], ["spec.sandbox.limits.files", []]);
    assert.match(problem?.problem ?? "", /as resources/);
  });

  test("looks into the package: present, executable, a program, not a way out", (context) => {
    const directory = temporaryDirectory(context);
    writeFileSync(join(directory, "good"), "#!/bin/sh\n", { mode: 0o755 });
    writeFileSync(join(directory, "plain"), "x");
    chmodSync(join(directory, "plain"), 0o644);
    symlinkSync("/bin/sh", join(directory, "out"));
    const problemsOf = (command: string): string[] =>
      checkTool(aTool({ operations: [operation({ command: [command] })] }, directory)).map(
        ({ problem }) => problem,
      );

    assert.deepEqual(problemsOf("./good"), []);
    assert.match(problemsOf("./missing").join(), /\/missing" does not exist/);
    assert.match(problemsOf("./out").join(), /leaves the package/);
    assert.match(problemsOf("./../x").join(), /leaves the package/);
    assert.match(problemsOf("./plain").join(), /may not be executed/);
  });

  test("names every problem of every tool at once", () => {
    const bad = {
      ...aTool({
        operations: [operation({ command: ["x"] }), operation({ name: "other", command: ["y"] })],
      }),
      name: "second",
    };

    assert.throws(
      () => loadTools([aShellTool("true"), bad]),
      (error: Error) =>
        /"second", spec.operations\[0\].command\[0\]/.test(error.message) &&
        /operations\[1\]/.test(error.message),
    );
  });
});
