import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
  readdirSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { atEnd } from "../helpers/at-end.ts";
import { native } from "../../src/kit/native.ts";

const nativeModule = fileURLToPath(new URL("../../src/kit/native.ts", import.meta.url));

/** Runs a few lines of TypeScript with the addon as `native` in a process of its own. */
function runApart(lines: string): { status: number | null; stdout: string } {
  const script = `import { native as load } from ${JSON.stringify(nativeModule)}; const native = load();\n${lines}`;
  const { status, stdout } = spawnSync(
    process.execPath,
    ["--input-type=module-typescript", "-e", script],
    { encoding: "utf8" },
  );
  return { status, stdout };
}

suite("native addon", () => {
  test("keeps the bounds of messages, says when there is none, and tells the end", () => {
    const [left, right] = native().socketPair();
    native().send(left, Buffer.from("one"));
    native().send(left, Buffer.from("two"));

    assert.equal(native().receive(right)?.data.toString(), "one");
    assert.equal(native().receive(right)?.data.toString(), "two");
    assert.equal(native().receive(right), null);
    closeSync(left);
    assert.equal(native().receive(right)?.data.length, 0);
    closeSync(right);
  });

  test("what a peer said before it went is heard, although it left something of ours unread", () => {
    const [left, right] = native().socketPair();
    native().send(left, Buffer.from("last word"), []);
    native().send(right, Buffer.from("unread"), []);
    closeSync(left);

    assert.equal(native().receive(right)?.data.toString(), "last word");
    assert.equal(native().receive(right)?.data.length, 0);
    closeSync(right);
  });

  test("a message longer than any of ours is the end of the peer, and its descriptors are closed", () => {
    const [left, right] = native().socketPair();
    const [reading, writing] = native().pipe();
    const open = readdirSync("/proc/self/fd").length;
    native().send(left, Buffer.alloc(70_000, 1), [reading, writing]);

    assert.deepEqual(native().receive(right), { data: Buffer.alloc(0), descriptors: [] });
    assert.equal(readdirSync("/proc/self/fd").length, open);
    for (const descriptor of [left, right, reading, writing]) closeSync(descriptor);
  });

  test("refuses to send when nobody reads, with EAGAIN, and after the end, with EPIPE or ECONNRESET", () => {
    const [left, right] = native().socketPair();

    assert.throws(
      () => {
        for (let i = 0; i < 10_000; i += 1) native().send(left, Buffer.alloc(32_768));
      },
      { code: "EAGAIN" },
    );
    closeSync(right);
    assert.throws(() => native().send(left, Buffer.from("x")), { code: /^(EPIPE|ECONNRESET)$/ });
    closeSync(left);
  });

  test("watches a descriptor until it is told to stop, and survives a close inside its own callback", async () => {
    const [left, right] = native().socketPair();
    const seen = Promise.withResolvers<string>();
    const watcher = new (native().Watcher)(right, (events) => {
      assert.equal(events, 1);
      watcher.close();
      watcher.close();
      seen.resolve(native().receive(right)?.data.toString() ?? "");
    });
    watcher.watch(1);
    native().send(left, Buffer.from("wake"));

    assert.equal(await seen.promise, "wake");
    assert.throws(() => watcher.watch(1), { code: "ERR_CLOSED" });
    closeSync(left);
    closeSync(right);
  });

  test("answers read and write with a count or a negated errno, and refuses a range outside the buffer", () => {
    const [left, right] = native().socketPair();
    native().setNonBlocking(right);

    assert.equal(native().read(right, Buffer.alloc(8), 0, 8), -11);
    assert.equal(native().read(9999, Buffer.alloc(8), 0, 8), -9);
    assert.throws(() => native().read(right, Buffer.alloc(8), 4, 8), RangeError);
    closeSync(left);
    closeSync(right);
  });

  test("locks a file against another process, and frees it with the descriptor", (context) => {
    const directory = mkdtempSync(join(tmpdir(), "ak-lock-"));
    atEnd(context, () => rmSync(directory, { recursive: true }));
    const path = join(directory, "lock");
    const descriptor = openSync(path, "w");
    const attempt = `import { openSync } from "node:fs"; process.stdout.write(String(native.lockFile(openSync(${JSON.stringify(path)}, "r"))));`;

    assert.equal(native().lockFile(descriptor), true);
    assert.equal(runApart(attempt).stdout, "false");
    closeSync(descriptor);
    assert.equal(runApart(attempt).stdout, "true");
  });

  test("seals a file so that nobody changes it", () => {
    const descriptor = native().sealedFile("sealed", Buffer.from("content"));

    assert.throws(() => writeSync(descriptor, "x", 0), { code: "EPERM" });
    assert.equal(readFileSync(`/proc/self/fd/${descriptor}`, "utf8"), "content");
    closeSync(descriptor);
  });

  test("hides a process: no core, and its memory and environment are root's", () => {
    const { stdout } = runApart(
      `import { readFileSync, statSync } from "node:fs"; native.hideProcess();
       process.stdout.write(statSync("/proc/self/environ").uid + " " + /Max core file size\\s+(\\d+)\\s+(\\d+)/.exec(readFileSync("/proc/self/limits", "utf8")).slice(1));`,
    );

    assert.equal(stdout, "0 0,0");
  });
});
