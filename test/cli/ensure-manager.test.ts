import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { until } from "../helpers/until.ts";
import { findManager, readManagerFile } from "../../src/cli/client.ts";
import { ensureManager } from "../../src/cli/ensure-manager.ts";
import { processesNaming } from "../helpers/processes.ts";

const self: [string, ...string[]] = [
  process.execPath,
  fileURLToPath(new URL("../../bin/agentkube.js", import.meta.url)),
];
const never = new AbortController().signal;

let dataDir = "";
let started: number[] = [];
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "agentkube-ensure-"));
});
// Whatever became of the test: a manager that is left would keep it from ending.
afterEach(async () => {
  for (const pid of started) if (isThere(pid)) process.kill(pid, "SIGTERM");
  await until("the managers' end", () => (started.some(isThere) ? undefined : true));
  started = [];
  rmSync(dataDir, { recursive: true, force: true });
});

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

suite("ensureManager", () => {
  test("waits for a manager on its way out, which still holds the lock, and takes its place", async () => {
    const [program, ...args] = [...self, "manager", "--data", dataDir];
    const old = spawn(program, args, { stdio: "ignore" });
    if (old.pid !== undefined) started.push(old.pid);
    const file = await until("the first manager", async () =>
      (await findManager(dataDir)) === null
        ? undefined
        : ((await readManagerFile(dataDir)) ?? undefined),
    );
    // An answer on its way keeps it for 1.5 s.
    const held = connect(file.port, "127.0.0.1");
    held.on("error", () => undefined);
    await once(held, "connect");
    held.write(
      `POST /v1/runs HTTP/1.1\r\nhost: 127.0.0.1:${file.port}\r\nauthorization: Bearer ${file.token}\r\ncontent-length: 9\r\n\r\n{`,
    );
    await until("a manager that answers no more", async () => {
      old.kill("SIGTERM");
      return (await findManager(dataDir)) === null ? true : undefined;
    });

    const client = await ensureManager({ dataDir, self, env: process.env, port: null }, never);
    started.push(client.pid);
    held.destroy();

    assert.notEqual(client.pid, file.pid);
    assert.equal(client.port, file.port);
  });

  test("several at once agree on one manager", async () => {
    const clients = await Promise.all(
      [1, 2, 3].map(async () =>
        ensureManager({ dataDir, self, env: process.env, port: null }, never),
      ),
    );

    const pids = new Set(clients.map((client) => client.pid));
    started.push(...pids);
    assert.equal(pids.size, 1);
    // The losers are gone by themselves; one that is late must not find the directory removed and make it anew.
    await until("the end of the losers", () =>
      processesNaming(dataDir).length === 1 ? true : undefined,
    );
  });
});

suite("findManager", () => {
  test("sends no token to a stranger on the port of a manager that is gone", async () => {
    let connections = 0;
    await using stranger = createServer((socket) => {
      connections += 1;
      socket.destroy();
    }).listen(0, "127.0.0.1");
    await once(stranger, "listening");
    const { port } = stranger.address() as AddressInfo;
    const { pid } = spawnSync("true");
    const file = { protocol: 1, pid, port, token: "t".repeat(43) };
    writeFileSync(join(dataDir, "manager.json"), JSON.stringify(file));

    assert.equal(await findManager(dataDir), null);
    assert.equal(connections, 0);
  });
});
