import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import * as z from "zod";
import { repository } from "../helpers/lab.ts";

const Packed = z.array(z.looseObject({ files: z.array(z.looseObject({ path: z.string() })) }));

test("the package has what agentkube pod reads, and what its documentation tells to put on nodes", () => {
  const words = ["pack", "--dry-run", "--json", "--ignore-scripts"];
  const { status, stdout, stderr } = spawnSync("npm", words, { cwd: repository, encoding: "utf8" });
  assert.equal(status, 0, stderr);

  const [packed] = Packed.parse(JSON.parse(stdout));
  const paths = packed?.files.map(({ path }) => path) ?? [];

  for (const path of [
    "bin/agentkube.js",
    "src/cli/commands/pod.ts",
    "images/versions.json",
    "images/seccomp-tool-runner.json",
    "images/agentkube-manager/kubernetes.yaml",
  ])
    assert(paths.includes(path), path);
});
