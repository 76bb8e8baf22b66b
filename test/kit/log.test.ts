import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { atEnd } from "../helpers/at-end.ts";
import { openLog } from "../../src/kit/log.ts";

suite("openLog", () => {
  test("stops at 16 MiB of a file, and says so in its last line", (context) => {
    const directory = mkdtempSync(join(tmpdir(), "ak-log-"));
    atEnd(context, () => rmSync(directory, { recursive: true }));
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

  test("writes an error with its type, stack, own fields and causes, and what its child adds", (context) => {
    const directory = mkdtempSync(join(tmpdir(), "ak-log-"));
    atEnd(context, () => rmSync(directory, { recursive: true }));
    const path = join(directory, "log");
    const descriptor = openSync(path, "a", 0o600);
    const log = openLog("test", "info", descriptor).child({ run: "one" });
    const cause = Object.assign(new Error("inner"), { code: "EIO" });
    const loop: { self?: unknown } = {};
    loop.self = loop;

    log.debug("not at this level");
    log.warn({ err: new TypeError("outer", { cause }), size: 3n }, "it failed");
    log.info({ loop }, "facts that are no JSON");

    closeSync(descriptor);
    const [first, second, ...more] = readFileSync(path, "utf8").trimEnd().split("\n");
    const line = JSON.parse(first ?? "") as Record<string, unknown>;
    const { stack, ...err } = line["err"] as { stack: string; cause: { message: string } };
    assert.deepEqual(
      { ...line, time: 0, err: 0 },
      { level: 40, time: 0, name: "test", run: "one", err: 0, size: "3", msg: "it failed" },
    );
    assert.match(stack, /^TypeError: outer\n\s+at /);
    assert.partialDeepStrictEqual(err, {
      type: "TypeError",
      message: "outer",
      cause: { type: "Error", message: "inner", code: "EIO" },
    });
    assert.match(second ?? "", /"msg":"facts that are no JSON"/);
    assert.deepEqual(more, []);
  });

  test("survives a descriptor that takes nothing", () => {
    const descriptor = openSync("/dev/full", "w");

    openLog("test", "info", descriptor).info("lost");

    closeSync(descriptor);
  });
});
