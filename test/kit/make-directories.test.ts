import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { makeDirectories } from "../../src/kit/make-directories.ts";

const room = new URL("../../src/kit/make-directories.ts", import.meta.url).href;

suite("directories", () => {
  test("what is missing is made with the mode, what is there keeps its own", () => {
    using place = aPlace();
    mkdirSync(join(place.dir, "there"), { mode: 0o755 });

    makeDirectories(join(place.dir, "there/a/b"));
    makeDirectories(join(place.dir, "there/a/b"));

    const modes = ["there", "there/a", "there/a/b"].map(
      (name) => statSync(join(place.dir, name)).mode & 0o777,
    );
    assert.deepEqual(modes, [0o755, 0o700, 0o700]);
  });

  test("a file and a dangling link in the way are refused", () => {
    using place = aPlace();
    writeFileSync(join(place.dir, "file"), "");
    symlinkSync("nowhere", join(place.dir, "link"));

    assert.throws(() => makeDirectories(join(place.dir, "file")), { code: "EEXIST" });
    assert.throws(() => makeDirectories(join(place.dir, "file/below")), { code: "ENOTDIR" });
    assert.throws(() => makeDirectories(join(place.dir, "link")), { code: "EEXIST" });
  });

  // In a process of its own: what would go wrong never returns.
  test("below /proc it is an error, not a loop", () => {
    const script = `import { makeDirectories } from ${JSON.stringify(room)};
      try { makeDirectories("/proc/agentkube/deeper"); } catch (error) { console.log(error.code); }`;
    const { stdout, signal } = spawnSync(
      process.execPath,
      ["--input-type=module", "--eval", script],
      { timeout: 30_000, encoding: "utf8", killSignal: "SIGKILL" },
    );

    assert.deepEqual({ signal, said: stdout.trim() }, { signal: null, said: "ENOENT" });
  });
});

function aPlace(): Disposable & { dir: string } {
  const dir = mkdtempSync(join(tmpdir(), "make-directories-"));
  return { dir, [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }) };
}
