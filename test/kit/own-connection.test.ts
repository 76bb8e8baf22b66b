// Who is behind a port of loopback, by the kernel's list, before anything is sent to it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { suite, test } from "node:test";
import { connectToOwn, requireOwn } from "../../src/kit/own-connection.ts";

const STRANGER = 1234;
const isRoot = process.getuid?.() === 0;

suite("a connection to a program of our own", () => {
  test("is made to one of this user", async () => {
    await using server = createServer((socket) => socket.end("hello"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");

    const socket = connectToOwn({ port: (server.address() as AddressInfo).port });

    assert.equal(String((await once(socket, "data"))[0]), "hello");
  });

  test(
    "is not made to another user's: not one byte reaches it",
    { skip: !isRoot && "only root can listen as another user" },
    async () => {
      const program = `
        const server = require("node:net").createServer((socket) => {
          socket.on("data", (bytes) => process.stdout.write("got " + bytes));
          socket.on("close", () => process.exit());
          socket.on("error", () => {});
        });
        server.listen(0, "127.0.0.1", () => process.stdout.write(server.address().port + "\\n"));`;
      const child = spawn("/proc/self/exe", ["-e", program], {
        argv0: "node",
        uid: STRANGER,
        gid: STRANGER,
        cwd: "/",
        stdio: ["ignore", "pipe", "inherit"],
      });
      let said = "";
      child.stdout.on("data", (bytes: Buffer) => (said += bytes.toString()));
      await once(child.stdout, "data");
      const port = Number(said);

      const call = request({
        port,
        createConnection: connectToOwn,
        headers: { authorization: "Bearer secret" },
      });
      call.end();

      const [error] = (await once(call, "error")) as [Error];
      assert.match(error.message, /Expected a program of this user at 127\.0\.0\.1:\d+/);
      await once(child, "close");
      assert.equal(said, `${port}\n`);
    },
  );

  test("looks at who listens and at who took the connection", () => {
    const own = process.geteuid?.() ?? 0;
    const listener = (uid: number) => row("0100007F:1F92", "00000000:0000", "0A", uid);
    const taken = (uid: number) => row("0100007F:1F92", "0100007F:C350", "01", uid);
    const check = (...rows: string[]) =>
      requireOwn(["  sl  local_address …", ...rows, ""].join("\n"), 50_000, 8082);

    check(listener(own));
    check(listener(own), taken(own));
    check(listener(0), taken(0));
    // Of another connection, and of another port.
    check(listener(own), row("0100007F:1F92", "0100007F:C351", "01", STRANGER));
    check(listener(own), row("0100007F:1F93", "00000000:0000", "0A", STRANGER));
    for (const rows of [
      [],
      [taken(own)],
      [listener(STRANGER), taken(own)],
      [listener(own), taken(STRANGER)],
      // A listener on every address is not ours: it got the connection because nobody has this one.
      [row("00000000:1F92", "00000000:0000", "0A", own)],
    ])
      assert.throws(() => check(...rows), { code: "stranger_listens" });
  });
});

function row(local: string, remote: string, state: string, uid: number): string {
  return `   0: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000 ${uid}        0 5732724 1 0 100 0 0 10 0`;
}
