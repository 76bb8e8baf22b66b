import assert from "node:assert/strict";
import { closeSync } from "node:fs";
import { suite, test } from "node:test";
import { InitChannel, type ProgramExit } from "../../src/kit/init-channel.ts";
import { native } from "../../src/kit/native.ts";

/** A channel whose other end is ours to play. */
function aChannel() {
  const [ours, theirs] = native().socketPair();
  const seen: (ProgramExit | "closed")[] = [];
  const channel = new InitChannel(ours, {
    onListener: () => {},
    onReady: () => {},
    onStarted: () => {},
    onEnded: (_id, exit) => seen.push(exit),
    onClosed: () => seen.push("closed"),
  });
  return { channel, theirs, seen };
}

function ended(status: number): Buffer {
  const message = Buffer.alloc(9);
  message.write("X", 0, "latin1");
  message.writeUInt32LE(1, 1);
  message.writeUInt32LE(status, 5);
  return message;
}

suite("InitChannel", () => {
  test("reads the last word of an init that is gone before it closes", () => {
    const { channel, theirs, seen } = aChannel();
    native().send(theirs, ended(7 << 8));
    closeSync(theirs);

    channel.finish();
    channel.finish();

    assert.deepEqual(seen, [{ kind: "exited", code: 7 }, "closed"]);
  });

  test("tells a signal from a code of the same number", () => {
    const { channel, theirs, seen } = aChannel();
    native().send(theirs, ended(9));
    native().send(theirs, ended(137 << 8));

    channel.finish();

    assert.deepEqual(seen.slice(0, 2), [
      { kind: "signalled", signal: "SIGKILL" },
      { kind: "exited", code: 137 },
    ]);
    closeSync(theirs);
  });

  test("closes on a message that our init does not send", () => {
    const { channel, theirs, seen } = aChannel();
    native().send(theirs, Buffer.from("?"));

    channel.finish();

    assert.deepEqual(seen, ["closed"]);
    assert.throws(() => native().send(theirs, Buffer.from("x")), { code: /^(EPIPE|ECONNRESET)$/ });
    closeSync(theirs);
  });

  test("refuses a request that an init would not take, and one with NUL in it", () => {
    const { channel, theirs } = aChannel();
    const request = { id: 1, cwd: "/", env: {}, cols: 80, rows: 24 };

    assert.throws(() => channel.start({ ...request, argv: ["x".repeat(200_000)] }), {
      code: "request_too_large",
    });
    assert.throws(() => channel.start({ ...request, argv: ["a\0b"] }), { code: "bad_argument" });
    channel.close();
    closeSync(theirs);
  });
});
