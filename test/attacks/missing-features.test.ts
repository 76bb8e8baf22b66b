// Case 30 of the attack list: on a machine that lacks what the sandbox is made of, a call is refused with the name of what is missing,
// and nothing of the tool runs. Each feature is taken away from the whole command by a filter that answers as such a kernel does.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { makeRemovable, repository } from "../helpers/lab.ts";

const TOOL = `
apiVersion: agentkube.io/v1alpha1
kind: Tool
metadata: { name: plain }
spec:
  package: ./package
  operations: [{ name: go, command: [/bin/sh, -c, "echo ran | tee ran"] }]
  sandbox: { workspace: rw }
`;

suite("30: a machine without", () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), "ak-without-"));
    mkdirSync(join(directory, "package"));
    mkdirSync(join(directory, "workspace"));
    writeFileSync(join(directory, "package/file"), "");
    writeFileSync(join(directory, "tool.yaml"), TOOL);
    const source = join(repository, "test/fixtures/hostile/without.c");
    const words = ["-O1", "-static", "-w", "-o", join(directory, "without"), source];
    const { status, stderr } = spawnSync("cc", words);
    assert.equal(status, 0, String(stderr));
  });
  after(() => {
    makeRemovable(directory);
    rmSync(directory, { recursive: true });
  });

  function call(...before: string[]): { status: number | null; said: string } {
    const words = ["tool", "call", directory, "go", "--workspace", join(directory, "workspace")];
    const main = join(repository, "src/cli/main.ts");
    const data = ["--json", "--data", join(directory, "data")];
    const [program = process.execPath, ...args] = before.concat(
      process.execPath,
      main,
      words,
      data,
    );
    const env = { PATH: process.env["PATH"], HOME: directory };
    const { status, stdout, stderr } = spawnSync(program, args, { env, timeout: 100_000 });
    return { status, said: String(stdout) + String(stderr) };
  }

  test("nothing: it runs", () => {
    const { status, said } = call();

    assert.equal(status, 0, said);
    assert.deepEqual(readdirSync(join(directory, "workspace")), ["ran"]);
    rmSync(join(directory, "workspace/ran"));
  });

  for (const [feature, names] of [
    ["user_namespaces", /namespace|clone/],
    ["mounts", /mount|open_tree|fsopen/],
    ["new_mounts", /mount|open_tree/],
    ["filters", /seccomp/],
    ["no_new_rights", /no_new_privs/],
    ["roots", /pivot_root/],
    ["ranges", /close_range/],
    ["lookups", /openat2|open/],
  ] as const)
    test(`${feature.replaceAll("_", " ")}: it is refused by name, and nothing ran`, () => {
      const { status, said } = call(join(directory, "without"), feature);

      assert.ok(status === 1 || status === 3, `${status}: ${said}`);
      assert.match(said, /"outcome":"(?:start_failed|refused)"|"error"/);
      assert.match(said, names);
      assert.match(said, /"fix":"[^"]+/);
      assert.equal(existsSync(join(directory, "workspace/ran")), false);
    });
});
