import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { suite, test } from "node:test";
import tls from "node:tls";
import { HOST, openWorld, SECRET, type World } from "./world.ts";

const ok = (_: unknown, res: { end: (text: string) => void }) => res.end("fine");
const code = (body: string): string => JSON.parse(body).error.code;

suite("an upstream that is not what it should be", () => {
  test("gets nothing when its certificate is for another name, by a stranger, or expired", async () => {
    for (const issue of [
      { host: "other.test" },
      { stranger: true },
      { notAfter: new Date(Date.now() - 1000) },
    ]) {
      await using world = await openWorld({ handler: ok, issue });

      const answer = await world.curl(`${world.origin}/bound/x`);

      assert.equal(answer.status, 502);
      assert.equal(code(answer.body), "upstream_certificate");
      assert.equal(world.received.length, 0);
      assert.equal(world.records[0]?.verdict, "upstream_failed");
    }
  });

  test("gets nothing at a private address that the rule does not allow, nor at a metadata address", async () => {
    for (const rule of [
      { private: false },
      { private: true, address: "169.254.169.254" },
      { private: true, address: "::ffff:169.254.169.254" },
    ]) {
      await using world = await openWorld({ handler: ok, rule });

      const answer = await world.curl(`${world.origin}/bound/x`);

      assert.equal(answer.status, 403);
      assert.equal(code(answer.body), "address_refused");
      assert.equal(world.received.length, 0);
      assert.equal(world.records[0]?.verdict, "refused_address");
    }
  });

  test("is told apart: down, unknown, silent, garbage, cut short", async () => {
    const down = net.createServer().listen(0, "127.0.0.1");
    await once(down, "listening");
    const { port } = down.address() as net.AddressInfo;
    down.close();
    const seen: string[] = [];
    {
      await using world = await openWorld({ handler: ok, rule: { port } });
      seen.push(code((await world.curl(`https://${HOST}:${port}/x`)).body));
    }
    {
      await using world = await openWorld({ handler: ok, rule: { address: undefined } });
      seen.push(code((await world.curl(`${world.origin}/x`)).body));
    }
    {
      await using world = await openWorld({ handler: () => {}, limits: { silenceMs: 200 } });
      const answer = await world.curl(`${world.origin}/bound/x`);
      assert.equal(answer.status, 504);
      seen.push(code(answer.body));
    }
    {
      await using world = await openWorld({
        handler: (req) => req.socket.end(`SSH-2.0-${SECRET}\r\nnonsense\r\n\r\n`),
      });
      const answer = await world.curl(`${world.origin}/bound/x`);
      assert.ok(!answer.body.includes("SSH"));
      seen.push(code(answer.body));
    }
    await using world = await openWorld({
      handler: (req, res) => {
        res.writeHead(200, { "content-length": 100 });
        res.write("half");
        setTimeout(() => req.socket.destroy(), 30);
      },
    });
    const cut = await world.curl(`${world.origin}/bound/x`);

    assert.deepEqual(seen, [
      "upstream_unreachable",
      "upstream_unresolved",
      "upstream_timeout",
      "upstream_garbage",
    ]);
    assert.notEqual(cut.code, 0);
    assert.equal(world.records[0]?.verdict, "upstream_failed");
  });

  test("may close an idle connection: the next request takes a new one", async () => {
    await using world = await openWorld({ handler: ok });
    await world.curl(`${world.origin}/bound/x`);
    world.server.closeIdleConnections();

    const answer = await world.curl(`${world.origin}/bound/x`);

    assert.equal(answer.body, "fine");
  });
});

suite("a clock that jumps", () => {
  for (const days of [30, -30])
    test(`by ${days} days neither breaks what was open nor leaves a certificate of another time`, async (context) => {
      await using world = await openWorld({ handler: ok });
      assert.equal((await world.curl(`${world.origin}/bound/x`)).body, "fine");
      const before = (await leafOf(world)).validTo;

      context.mock.timers.enable({ apis: ["Date"], now: Date.now() + days * 86_400_000 });
      const after = (await leafOf(world)).validTo;
      context.mock.timers.reset();

      assert.notEqual(after, before);
      assert.equal((await world.curl(`${world.origin}/bound/x`)).body, "fine");
      assert.equal(world.records.filter(({ verdict }) => verdict === "allowed").length, 2);
    });

  async function leafOf(world: World): Promise<{ validTo: string }> {
    const socket = tls.connect({
      socket: await world.connect(),
      servername: HOST,
      rejectUnauthorized: false,
    });
    await once(socket, "secureConnect");
    const { valid_to: validTo } = socket.getPeerCertificate();
    socket.destroy();
    return { validTo };
  }
});

suite("a secret that cannot be used", () => {
  test("stops the request and says so without its value", async () => {
    const secrets: (() => Buffer)[] = [
      () => Buffer.from("abc"),
      () => Buffer.from("line one\nline two"),
      () => {
        throw new Error(`cannot read ${SECRET}`);
      },
    ];
    for (const secret of secrets) {
      await using world = await openWorld({ handler: ok, secret });

      const answer = await world.curl(`${world.origin}/bound/x`);

      assert.equal(answer.status, 502);
      assert.equal(code(answer.body), "credential_unusable");
      assert.doesNotMatch(answer.body, /ghp_|line one/);
      assert.equal(world.received.length, 0);
    }
  });

  test("may end in a newline, as files do", async () => {
    await using world = await openWorld({ handler: ok, secret: () => Buffer.from(`${SECRET}\n`) });

    await world.curl(`${world.origin}/bound/x`);

    assert.equal(world.received[0]?.headers.authorization, `Bearer ${SECRET}`);
  });
});
