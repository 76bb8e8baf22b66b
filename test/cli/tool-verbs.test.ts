import assert from "node:assert/strict";
import { chmodSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { contracts, jsonSchemaOf } from "../../src/protocol/schemas.ts";
import { DoctorResult, ToolCallResult } from "../../src/protocol/results.ts";
import { lastDocument, PreparedData } from "./prepared-data.ts";

const GREET = `
apiVersion: agentkube.io/v1alpha1
kind: Tool
metadata: { name: greet }
spec:
  description: Greets.
  package: ./package
  operations:
    - name: hello
      command: [./hello, "{{name}}"]
      inputSchema: { type: object, properties: { name: { type: string } }, required: [name], additionalProperties: false }
    - { name: fail, command: [/bin/sh, -c, "echo no >&2; exit 7"] }
    - { name: draw, command: [/bin/sh, -c, "printf '\\\\211PNG' > a.png"], files: ["*.png"] }
    - { name: key, command: [/bin/sh, -c, "printf %s \\"$KEY\\" | wc -c"] }
  credentials:
    - { name: key, secretRef: { name: demo, key: token }, env: KEY }
`;

function greet(data: PreparedData): string {
  data.write("greet/tool.yaml", GREET);
  chmodSync(data.write("greet/package/hello", '#!/bin/sh\necho "hello $1"\n'), 0o755);
  return join(data.root, "greet");
}

suite("agentkube tool", () => {
  test("check says OK, or everything that is wrong", async () => {
    using data = new PreparedData();
    const dir = greet(data);
    const bad = data.write(
      "bad.yaml",
      GREET.replace("./hello,", "./missing,").replace("{{name}}", "{{nam}}"),
    );

    const good = await data.run("tool", "check", dir);
    const wrong = await data.run("tool", "check", bad, "--json");

    assert.deepEqual([good.code, good.stdout], [0, "OK  greet: hello, fail, draw, key\n"]);
    assert.equal(wrong.code, 2);
    assert.equal(lastDocument(wrong)["ok"], false);
    assert.ok(JSON.stringify(lastDocument(wrong)).includes("package"));
  });

  test("call runs an operation in the sandbox and says how it ended", async () => {
    using data = new PreparedData();
    const dir = greet(data);
    const secret = data.write("secret.txt", "a secret of 24 bytes ...\n");
    const call = async (operation: string, args: string): ReturnType<PreparedData["run"]> =>
      await data.run(
        "tool",
        "call",
        dir,
        operation,
        "--args",
        args,
        "--secret",
        `demo/token=@${secret}`,
        "--json",
      );

    const hello = await call("hello", '{"name":"world"}');
    const fail = await call("fail", "{}");
    const key = await call("key", "{}");
    const refused = await call("hello", '{"nam":1}');

    assert.equal(ToolCallResult.parse(lastDocument(hello)).stdout, "hello world\n");
    assert.deepEqual(ToolCallResult.parse(lastDocument(fail)).exitCode, 7);
    assert.equal(ToolCallResult.parse(lastDocument(key)).stdout.trim(), "24");
    assert.equal(ToolCallResult.parse(lastDocument(refused)).outcome, "refused");
    assert.deepEqual([hello.code, fail.code, key.code, refused.code], [0, 1, 0, 3]);
  });

  test("call gives the operation's files: as bytes with --json, or written into a directory", async () => {
    using data = new PreparedData();
    const secret = data.write("secret.txt", "a secret of 24 bytes ...");
    const words = ["tool", "call", greet(data), "draw", `--secret=demo/token=@${secret}`];
    const kept = join(data.root, "kept");
    const asBytes = await data.run(...words, "--json");
    const written = await data.run(...words, "--json", "--files-to", kept);
    const again = await data.run(...words, "--files-to", kept);

    const file = { path: "a.png", mediaType: "image/png", bytes: 4 };
    const given = ToolCallResult.parse(lastDocument(asBytes)).files?.[0];
    assert.deepEqual(given, { ...file, sha256: given?.sha256, base64: "iVBORw==" });
    const saved = ToolCallResult.parse(lastDocument(written)).files?.[0];
    assert.deepEqual(saved, { ...file, sha256: given?.sha256, savedAs: join(kept, "a.png") });
    assert.equal(readFileSync(join(kept, "a.png"), "latin1"), "\x89PNG");
    assert.equal(again.code, 1);
    assert.match(again.stderr, /Cannot write the file "a.png" of the call: EEXIST/);
    assert.match(again.stderr, /give an empty directory/);
  });

  test("call refuses bad words before anything runs", async () => {
    using data = new PreparedData();
    const dir = greet(data);

    const unknown = await data.run("tool", "call", dir, "helo");
    const args = await data.run("tool", "call", dir, "hello", "--args", "[1]");
    const secret = await data.run("tool", "call", dir, "fail");

    assert.match(unknown.stderr, /did you mean hello/);
    assert.match(secret.stderr, /Missing secret "demo\/token"/);
    assert.deepEqual([unknown.code, args.code, secret.code], [2, 2, 2]);
    assert.equal(existsSync(join(data.data, "store")), false);
  });

  test("ls gives operations the names that agents see; an unknown verb is a usage error", async () => {
    using data = new PreparedData();

    const list = await data.run("tool", "ls", greet(data), "--json");
    const unknown = await data.run("tool", "chek", ".");

    assert.match(list.stdout, /"mcpName":"greet_hello"/);
    assert.match(unknown.stderr, /did you mean tool check/);
    assert.equal(unknown.code, 2);
  });
});

suite("agentkube doctor", () => {
  test("tries tiers and zone A, and finds runtimes", async () => {
    using data = new PreparedData();

    const end = await data.run("doctor", "--json");

    const result = DoctorResult.parse(lastDocument(end));
    const standard = result.tiers.find(({ tier }) => tier === "standard");
    const zone = result.checks.find(({ name }) => name === "zone A");
    const isAble = standard?.available === true && result.checks.every(({ ok }) => ok !== false);
    assert.equal(end.code, isAble ? 0 : 3);
    assert.equal(standard?.available, standard?.error === null);
    assert.equal(zone?.ok, zone?.fix === null);
    assert.ok(result.runtimes.some(({ runtime }) => runtime === "ClaudeCode"));
  });

  test("a runtime is found on PATH with the version it says, and its tree is printed", async () => {
    using data = new PreparedData();
    const program = data.write("bin/codex", "#!/bin/sh\necho codex-cli 1.2.3\n");
    chmodSync(program, 0o755);
    const path = process.env["PATH"];
    process.env["PATH"] = `${join(data.root, "bin")}:${path}`;

    const end = await data.run("doctor", "--json");
    const tree = await data.run("doctor", "--runtime", "Codex", "--json");
    process.env["PATH"] = path;

    const codex = DoctorResult.parse(lastDocument(end)).runtimes.find(
      ({ runtime }) => runtime === "Codex",
    );
    assert.deepEqual(codex, { runtime: "Codex", found: program, version: "1.2.3" });
    assert.deepEqual(
      (lastDocument(tree)["binds"] as { target: string }[]).map(({ target }) => target),
      [program],
    );
  });
});

suite("agentkube schema", () => {
  test("every contract is a JSON Schema that a strict validator compiles", () => {
    const ajv = new Ajv2020({
      strict: true,
      strictTypes: false,
      strictRequired: false,
      formats: { "date-time": true, uri: true, ipv4: true, ipv6: true, base64: true },
    });

    for (const contract of contracts)
      assert.doesNotThrow(() => ajv.compile(jsonSchemaOf(contract)), contract.name);
  });

  test("a schema refuses what the program refuses", async () => {
    using data = new PreparedData();
    const agent = { apiVersion: "agentkube.io/v1alpha1", kind: "Agent", metadata: { name: "a" } };

    const end = await data.run("schema", "agent", "--json");
    const validate = new Ajv2020({ strict: false, validateFormats: false }).compile(
      lastDocument(end),
    );

    assert.equal(validate({ ...agent, spec: { runtime: "ClaudeCode" } }), true);
    assert.equal(validate({ ...agent, spec: { runtime: "ClaudeCode", approvals: {} } }), false);
    assert.equal(validate({ ...agent, spec: { runtime: "Unknown" } }), false);
  });

  test("without a name it lists, and an unknown name gets a suggestion", async () => {
    using data = new PreparedData();

    const list = await data.run("schema");
    const unknown = await data.run("schema", "Agnt");

    assert.match(list.stdout, /^RunSpec /m);
    assert.match(unknown.stderr, /did you mean Agent/);
    assert.equal(unknown.code, 2);
  });
});
