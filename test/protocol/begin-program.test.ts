import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { suite, test } from "node:test";
import { aRunSpec } from "../agentlet/run-spec.ts";
import { silentLog } from "../../src/kit/log.ts";
import { readSigningKey } from "../../src/kit/signing.ts";
import { bootProgram } from "../../src/protocol/begin-program.ts";
import { RecorderBoot } from "../../src/protocol/run-spec.ts";

const OWN_TOKEN = "k".repeat(40);
const ANSWER = {
  recorderToken: "r".repeat(43),
  agentletToken: "l".repeat(43),
  runnerToken: "n".repeat(43),
};

/** A manager that gives the tokens of a recorder to whoever shows the container's own, at the second try. */
async function openManager() {
  const requests: { authorization: string | undefined; body: unknown }[] = [];
  const server = createServer((request, response) => {
    void json(request).then((body) => {
      requests.push({ authorization: request.headers.authorization, body });
      response.writeHead(requests.length === 1 ? 503 : 200).end(JSON.stringify(ANSWER));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    [Symbol.asyncDispose]: async () => void (await new Promise((done) => server.close(done))),
  };
}

suite("the boot of a program in a pod", () => {
  test("is the manager's tokens, what the container was given, and a key that stays the same", async () => {
    await using manager = await openManager();
    const directory = await mkdtemp(join(tmpdir(), "begin-program-"));
    const tokenFile = join(directory, "token");
    await writeFile(tokenFile, `${OWN_TOKEN}\n`);
    const spec = aRunSpec({ directory, managerUrl: manager.url });
    const start = () =>
      bootProgram(
        {
          role: "recorder",
          schema: RecorderBoot,
          handlers: { onCommand: () => assert.fail(), onParentGone: () => assert.fail() },
          keyDir: join(directory, "volume"),
          ownParts: () => ({ zoneSecrets: ["c2VjcmV0LXZhbHVl"] }),
        },
        { spec, tokenFile, log: silentLog },
      );

    const first = await start();
    const second = await start();

    const { signingSeed = "", ...rest } = first;
    assert.deepEqual(rest, { ...ANSWER, zoneSecrets: ["c2VjcmV0LXZhbHVl"] });
    assert.equal(second.signingSeed, signingSeed);
    assert.deepEqual(
      manager.requests,
      manager.requests.map(() => ({
        authorization: `Bearer ${OWN_TOKEN}`,
        body: { protocol: 1, role: "recorder", key: readSigningKey(signingSeed).publicKey },
      })),
    );
    assert.equal(manager.requests.length, 3);
    assert.equal(
      (await readFile(join(directory, "volume/signing-seed"), "utf8")).trim(),
      signingSeed,
    );
    await rm(directory, { recursive: true });
  });
});
