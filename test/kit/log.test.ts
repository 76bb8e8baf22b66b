import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { openLog } from "../../src/kit/log.ts";

suite("openLog", () => {
  test("stops at 16 MiB of a file, and says so in its last line", (context) => {
    const directory = mkdtempSync(join(tmpdir(), "ak-log-"));
    context.after(() => rmSync(directory, { recursive: true }));
    const path = join(directory, "log");
    const descriptor = openSync(path, "a", 0o600);
    const log = openLog("test", "info", descriptor);

    for (let i = 0; i < 40; i += 1) log.info("x".repeat(1024 * 1024));

    closeSync(descriptor);
    assert.ok(statSync(path).size < 18 * 1024 * 1024);
    assert.match(
      readFileSync(path, "latin1").slice(-200),
      /"msg":"log is full \(16777216 bytes\)[^\n]*\n$/,
    );
  });

  test("survives a descriptor that takes nothing", () => {
    const descriptor = openSync("/dev/full", "w");

    openLog("test", "info", descriptor).info("lost");

    closeSync(descriptor);
  });
});
