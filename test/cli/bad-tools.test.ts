// Tools that are wrong, or that misbehave: each has a clear error or a closed outcome, and leaves nothing.
import assert from "node:assert/strict";
import { chmodSync, readdirSync, readFileSync, realpathSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { ToolCallResult } from "../../src/protocol/results.ts";
import { writeImage } from "../tool-runner/image-builder.ts";
import { lastDocument, PreparedData } from "./prepared-data.ts";

/** A tool whose one operation runs `command`, with the package `./package`. */
function manifest(command: string, more = "", sandbox = ""): string {
  return `
apiVersion: agentkube.io/v1alpha1
kind: Tool
metadata: { name: box }
spec:
  package: ./package
  operations:
    - name: go
      command: ${command}
${more}
  sandbox: { timeout: 4s, limits: { memory: 128Mi, processes: 16, scratch: 8Mi, output: 64Ki } ${sandbox} }
`;
}

function aTool(
  data: PreparedData,
  text: string,
  program: string | Buffer = "#!/bin/sh\ntrue\n",
): void {
  data.write("tool/tool.yaml", text);
  chmodSync(data.write("tool/package/run", program), 0o755);
}

function leftovers(): string[] {
  return readdirSync(tmpdir()).filter((name) => /^agentkube-(?:call|check|pack|list)-/.test(name));
}

suite("a tool that is wrong", () => {
  const own = readFileSync(realpathSync("/bin/sh"));
  const foreign = Buffer.from(own);
  foreign.writeUInt16LE(process.arch === "arm64" ? 62 : 183, 18);
  const cases: [string, string, string | Buffer, RegExp][] = [
    [
      "a missing executable",
      manifest("[./gone]"),
      "#!/bin/sh\n",
      /"\/opt\/tool\/gone" does not exist/,
    ],
    ["an executable for another machine", manifest("[./run]"), foreign, /is a program for/],
    [
      "an interpreter that is not there",
      manifest("[./run]"),
      "#!/usr/bin/no-such-lang\n",
      /needs the interpreter/,
    ],
    ["no first line", manifest("[./run]"), "echo hi\n", /neither an ELF program nor a script/],
    [
      "a schema that does not compile",
      manifest(
        "[./run]",
        "      inputSchema: { type: object, properties: { a: { type: strin } } }",
      ),
      "#!/bin/sh\n",
      /inputSchema/,
    ],
    [
      "a reference to elsewhere",
      manifest(
        "[./run]",
        "      inputSchema: { type: object, properties: { a: { $ref: 'https://example.com/x' } } }",
      ),
      "#!/bin/sh\n",
      /only references inside/,
    ],
    [
      "an unknown name in a template",
      manifest(
        '[./run, "{{nmae}}"]',
        "      inputSchema: { type: object, properties: { name: { type: string } } }",
      ),
      "#!/bin/sh\n",
      /"nmae" is not a property/,
    ],
    ["a tier that is not here", manifest("[./run]", "", ", tier: pod"), "#!/bin/sh\n", /tier/],
  ];
  for (const [name, text, program, message] of cases) {
    test(`(${name}) is refused by check and call, with the reason`, async () => {
      using data = new PreparedData();
      aTool(data, text, program);

      const check = await data.run("tool", "check", "tool", "--json");
      const call = await data.run("tool", "call", "tool", "go", "--json");

      assert.notEqual(check.code, 0);
      assert.match(
        JSON.stringify(lastDocument(check)),
        new RegExp(message.source.replaceAll('"', '\\\\*"')),
      );
      assert.notEqual(call.code, 0);
      assert.match(call.stderr, message);
    });
  }

  test("(2 GB, as a directory or an archive) is refused at once, with the limit", async () => {
    using data = new PreparedData();
    aTool(data, manifest("[./run]"));
    truncateSync(data.write("tool/package/huge", ""), 2 * 1024 ** 3);
    const started = performance.now();

    const directory = await data.run("tool", "call", "tool", "go", "--json");
    data.write("tool/tool.yaml", manifest("[./run]").replace("./package", "./huge.tar"));
    truncateSync(data.write("tool/huge.tar", ""), 2 * 1024 ** 3);
    const archive = await data.run("tool", "call", "tool", "go", "--json");

    assert.ok(performance.now() - started < 20_000);
    for (const { code, stderr } of [directory, archive]) {
      assert.equal(code, 2);
      assert.match(stderr, /2 GB/);
    }
    assert.deepEqual(
      readdirSync(join(data.data, "store")).filter((name) => !name.startsWith(".gate")),
      [],
    );
  });

  test("(an image with a path escape) is refused, and nothing is outside", async () => {
    using data = new PreparedData();
    aTool(data, manifest("[/bin/sh]").replace("./package", "./image.tar"));
    await writeImage(join(data.root, "tool/image.tar"), {
      layers: [
        [
          { name: "bin/sh", data: "x", mode: 0o755 },
          { name: "../../../escaped", data: "x" },
        ],
      ],
    });

    const check = await data.run("tool", "check", "tool");
    const call = await data.run("tool", "call", "tool", "go");

    assert.deepEqual([check.code, call.code], [2, 2]);
    assert.match(check.stdout, /escaped.*has a path with/);
    assert.match(call.stderr, /escaped/);
    assert.equal(
      readdirSync(data.root, { recursive: true }).some((name) => String(name).endsWith("escaped")),
      false,
    );
  });
});

suite("a tool that misbehaves", () => {
  for (const [name, script, outcome] of [
    ["closes its output and runs on", "exec >&- 2>&-; sleep 600", "timed_out"],
    ["prints for ever", "yes", "killed_by_limit"],
    ["forks for ever", "f() { f | f & }; f; sleep 600", "timed_out"],
    ["fills its scratch", "cat /dev/zero > /tmp/zeros; echo full; exit 5", "completed"],
  ] as const) {
    test(`(${name}) ends as ${outcome}, and leaves nothing`, async () => {
      using data = new PreparedData();
      aTool(data, manifest("[./run]"), `#!/bin/sh\n${script}\n`);
      const before = leftovers();

      const end = await data.run("tool", "call", "tool", "go", "--json");

      const result = ToolCallResult.parse(lastDocument(end));
      assert.equal(result.outcome, outcome, end.stderr);
      assert.ok(end.stdout.length < 1_000_000);
      if (outcome !== "completed") assert.ok((result.detail?.fix ?? "") !== "");
      assert.deepEqual(
        leftovers().filter((entry) => !before.includes(entry)),
        [],
      );
    });
  }
});
