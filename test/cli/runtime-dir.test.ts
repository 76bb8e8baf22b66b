import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openRuntimeDir } from "../../src/cli/runtime-dir.ts";

test("what a killed supervisor left is removed: empty, old and locked by nobody", () => {
  const base = mkdtempSync(join(tmpdir(), "akrt-"));
  const age = (path: string): void => utimesSync(path, new Date(0), new Date(0));
  const make = (name: string): string => {
    const path = join(base, name);
    mkdirSync(path, { mode: 0o700 });
    return path;
  };
  try {
    using live = openRuntimeDir({ XDG_RUNTIME_DIR: base });
    age(live.path);
    const [dead, young, full, other] = ["dead01", "young1", "full01", "other-x"].map((name) =>
      make(`agentkube-${name}`),
    ) as [string, string, string, string];
    writeFileSync(join(full, "spec.json"), "");
    for (const path of [dead, full, other]) age(path);

    using second = openRuntimeDir({ XDG_RUNTIME_DIR: base });

    assert.equal(existsSync(dead), false);
    for (const path of [live.path, young, full, other, second.path])
      assert.ok(existsSync(path), path);
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
});
