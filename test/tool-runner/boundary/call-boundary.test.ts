import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import type http from "node:http";
import net from "node:net";
import type { Readable } from "node:stream";
import { suite, test } from "node:test";
import tls from "node:tls";
import { fileURLToPath } from "node:url";
import zlib from "node:zlib";
import { until } from "../../helpers/until.ts";
import { HOST, openWorld, readAll, runCurl, SECRET } from "./world.ts";

const ok: http.RequestListener = (_, res) => res.end("fine");

suite("a request of a tool", () => {
  test("carries the credential its rule names, and nothing the tool brought as its own", async () => {
    await using world = await openWorld({ handler: ok });

    const answer = await world.curl(
      `${world.origin}/bound/issues?page=2`,
      "-H",
      "Authorization: Bearer mine",
      "-H",
      "X_Api_Key: mine",
      "-H",
      "Cookie: a=b",
      "-H",
      "Private-Token: mine",
      "-H",
      "X-HTTP-Method-Override: DELETE",
      "-H",
      "Range: bytes=5-9",
      "-H",
      "Connection: authorization",
      "-H",
      "Accept-Encoding: zstd",
      "-H",
      "X-Kept: yes",
    );

    assert.equal(answer.body, "fine");
    const { rawHeaders, url } = world.received[0] as http.IncomingMessage;
    const pairs = rawHeaders.flatMap((name, index) =>
      index % 2 === 0 ? [`${name}: ${rawHeaders[index + 1]}`] : [],
    );
    assert.deepEqual(
      pairs.filter((pair) => !/^(?:user-agent|accept:)/i.test(pair)),
      [
        `Host: ${HOST}:${world.port}`,
        "X-Kept: yes",
        "Accept-Encoding: identity",
        `Authorization: Bearer ${SECRET}`,
        "Connection: keep-alive",
      ],
    );
    assert.equal(url, "/bound/issues?page=2");
    const [record] = world.records;
    assert.deepEqual(
      { ...record, call: "-", durationMs: 0 },
      {
        call: "-",
        source: "tool",
        credential: "github",
        method: "GET",
        host: `${HOST}:${world.port}`,
        path: "/bound/issues",
        template: "/bound/",
        status: 200,
        bytesUp: 0,
        bytesDown: 4,
        durationMs: 0,
        masked: 0,
        verdict: "allowed",
      },
    );
  });

  test("goes without credential when path or method are not the rule's", async () => {
    await using world = await openWorld({ handler: ok });

    for (const args of [
      ["/bound"],
      ["/other/x"],
      ["/boundary/x"],
      ["/bound/x", "-X", "DELETE"],
      ["/Bound/x"],
    ]) {
      const [path, ...rest] = args;
      const answer = await world.curl(
        `${world.origin}${path}`,
        ...rest,
        "-H",
        "Authorization: Bearer mine",
      );
      assert.equal(answer.status, 200);
    }

    assert.equal(world.received.length, 5);
    for (const req of world.received) assert.equal(req.headers.authorization, undefined);
    assert.ok(world.records.every((record) => record.verdict === "allowed_without_credential"));
    assert.ok(world.records.every((record) => record.credential === null));
  });

  test("has no other host, and no name of one is looked up", async () => {
    await using world = await openWorld({ handler: ok });

    for (const url of [
      "https://attacker.example/",
      `https://${HOST}/`,
      `https://x.${HOST}:${world.port}/`,
      "https://127.0.0.1/",
      "https://[::1]/",
    ]) {
      const answer = await world.curl(url);
      assert.match(answer.stderr, /403/, url);
    }
    const shown = await world.curl("-H", "Host: api.test", "http://attacker.example/");

    assert.equal(shown.status, 403);
    assert.match(shown.headers, /x-agentkube-refused: host_refused/);
    assert.equal(JSON.parse(shown.body).error.code, "host_refused");
    assert.ok(world.records.every((record) => record.verdict === "refused_host"));
    assert.equal(world.received.length, 0);
  });

  test("can carry the credential as basic or query, and never shows it back", async () => {
    const echo: http.RequestListener = (req, res) =>
      res.end(`${req.url} ${req.headers.authorization}`);
    for (const form of [{ basic: { username: "bot" } }, { query: "key" }]) {
      await using world = await openWorld({
        handler: echo,
        http: { header: undefined, format: undefined, ...form },
      });

      const answer = await world.curl(`${world.origin}/bound/x?a=1`);

      const req = world.received[0] as http.IncomingMessage;
      const sent = `${req.url} ${req.headers.authorization}`;
      const basic = Buffer.from(`bot:${SECRET}`).toString("base64");
      assert.ok(
        sent.includes("query" in form ? `/bound/x?a=1&key=${SECRET}` : `Basic ${basic}`),
        sent,
      );
      assert.ok(!answer.body.includes(SECRET) && !answer.body.includes(basic), answer.body);
      assert.equal(answer.body.length, sent.length);
      assert.equal(world.records[0]?.path, "/bound/x");
      assert.ok((world.records[0]?.masked ?? 0) > 0);
      if ("query" in form) {
        assert.equal((await world.curl(`${world.origin}/bound/x?KEY=mine`)).status, 400);
      }
    }
  });

  test("keeps a body whole in both directions and reuses its connections", async () => {
    await using world = await openWorld({ handler: (req, res) => req.pipe(res) });
    const body = "0123456789abcdef".repeat(64 * 1024);

    const answer = await world.curl(
      `${world.origin}/bound/echo`,
      "--data-binary",
      body.slice(0, 100_000),
    );
    const chunked = await world.curl(
      `${world.origin}/bound/echo`,
      "-H",
      "Transfer-Encoding: chunked",
      "--data-binary",
      body.slice(0, 90_000),
    );

    assert.equal(answer.body, body.slice(0, 100_000));
    assert.equal(chunked.body, body.slice(0, 90_000));
    assert.equal(world.records[0]?.bytesUp, 100_000);
    assert.equal(world.records[1]?.bytesDown, 90_000);
    assert.equal(new Set(world.received.map((req) => req.socket)).size, 1);
  });

  test("gets redirects as they are, and no cookie", async () => {
    await using world = await openWorld({
      handler: (_, res) => {
        res.writeHead(302, `Moved ${SECRET}`, [
          ["Location", `https://evil.example/?t=${SECRET}`],
          ["Set-Cookie", "session=1"],
          ["Alt-Svc", 'h3=":443"'],
        ]);
        res.end();
      },
    });

    const answer = await world.curl(`${world.origin}/bound/x`);

    assert.match(answer.headers, /^HTTP\/1\.1 302 Found/);
    assert.match(answer.headers, /Location: https:\/\/evil\.example\/\?t=\*{28}\r/);
    assert.doesNotMatch(answer.headers, /cookie|alt-svc|ghp_/i);
    assert.equal(world.received.length, 1);
  });

  test("in absolute form is spoken as TLS upstream, or plain to a plain host of one's own", async () => {
    await using secure = await openWorld({ handler: ok });
    await using plain = await openWorld({ handler: ok, plain: true });

    const first = await secure.curl(`http://${HOST}:${secure.port}/bound/x`);
    const second = await plain.curl(`http://${HOST}:${plain.port}/bound/x`);
    const third = await plain.curl("--proxytunnel", `http://${HOST}:${plain.port}/bound/x`);

    assert.deepEqual([first.body, second.body, third.body], ["fine", "fine", "fine"]);
    for (const { received } of [secure, plain]) {
      for (const req of received) assert.equal(req.headers.authorization, `Bearer ${SECRET}`);
    }
  });

  test("is served on a listening descriptor that another process opened", async () => {
    const owner = net.createServer().listen(0, "127.0.0.1");
    await once(owner, "listening");
    const { fd } = (owner as unknown as { _handle: { fd: number } })._handle;
    const { port } = owner.address() as net.AddressInfo;
    const program = fileURLToPath(new URL("serves-descriptor-3.ts", import.meta.url));
    const child = spawn(process.execPath, [program], { stdio: ["pipe", "pipe", "inherit", fd] });
    await once(child.stdout as Readable, "data");
    owner.close();
    const proxy = ["-sS", "-D", "-", "-w", "\n%{http_code}", "--proxy", `http://127.0.0.1:${port}`];

    const answer = await runCurl([...proxy, "http://a.example/"]);
    child.stdin?.end();
    await once(child, "exit");
    const late = await runCurl([...proxy, "http://a.example/"]);

    assert.equal(answer.status, 403);
    assert.equal(child.exitCode, 0);
    assert.equal(late.code, 7);
  });
});

suite("a secret that comes back", () => {
  const b64 = Buffer.from(SECRET).toString("base64");
  const reflections: Record<string, http.RequestListener> = {
    "in the body": (req, res) => res.end(JSON.stringify(req.headers)),
    "as base64 in an error": (_, res) => res.writeHead(401).end(`bad ${b64}`),
    "in a header value": (_, res) => res.setHeader("X-Echo", `a ${SECRET} b`).end("x"),
    "in a header name": (_, res) => res.setHeader(`X-${SECRET}`, "1").end("x"),
    "in a trailer": (_, res) => {
      res.writeHead(200, { trailer: "X-T" });
      res.write("x");
      res.addTrailers({ "X-T": SECRET });
      res.end();
    },
    "split over chunks": (_, res) => {
      res.write(`x${SECRET.slice(0, 9)}`);
      setTimeout(() => res.end(`${SECRET.slice(9)}y`), 30);
    },
    "in early hints": (_, res) => {
      res.writeEarlyHints({ link: "</x>; rel=preload", "x-echo": SECRET });
      res.end("x");
    },
  };
  for (const [name, create] of Object.entries({
    gzip: zlib.gzipSync,
    "x-gzip": zlib.gzipSync,
    deflate: zlib.deflateSync,
    br: zlib.brotliCompressSync,
    zstd: zlib.zstdCompressSync,
  })) {
    reflections[`compressed as ${name}`] = (_, res) => {
      res
        .writeHead(200, { "content-encoding": name })
        .end(create(Buffer.from(`you sent ${SECRET}!`)));
    };
  }

  for (const [where, handler] of Object.entries(reflections)) {
    test(`is masked ${where}`, async () => {
      await using world = await openWorld({ handler });

      const answer = await world.curl("--raw", `${world.origin}/bound/x`);

      const seen = answer.headers + answer.body;
      assert.equal(answer.code, 0, answer.stderr);
      assert.ok(!seen.includes(SECRET) && !seen.includes(b64), seen);
      if (where.startsWith("compressed"))
        assert.ok(answer.body.includes(`you sent ${"*".repeat(SECRET.length)}!`));
      if (where !== "in early hints") assert.ok((world.records[0]?.masked ?? 0) > 0, where);
    });
  }

  test("is masked also where the request did not carry it", async () => {
    await using world = await openWorld({ handler: (_, res) => res.end(`last time: ${SECRET}`) });

    const answer = await world.curl(`${world.origin}/elsewhere`);

    assert.equal(answer.body, `last time: ${"*".repeat(SECRET.length)}`);
  });

  test("is withheld in a coding that cannot be read, in broken data and in a bomb", async () => {
    const bomb = zlib.gzipSync(zlib.gzipSync(Buffer.alloc(64 * 1024 * 1024)));
    const bodies: [string, Buffer][] = [
      ["x-foo", Buffer.from(SECRET)],
      ["gzip, br", Buffer.from(SECRET)],
      ["gzip", Buffer.from(SECRET)],
    ];
    for (const [coding, body] of bodies) {
      await using world = await openWorld({
        handler: (_, res) => res.writeHead(200, { "content-encoding": coding }).end(body),
      });
      const answer = await world.curl(`${world.origin}/bound/x`);
      assert.equal(answer.status, 502);
      assert.ok(!answer.body.includes(SECRET));
      assert.equal(world.records[0]?.verdict, "undecodable");
    }
    await using world = await openWorld({
      handler: (_, res) =>
        res.writeHead(200, { "content-encoding": "gzip" }).end(zlib.gunzipSync(bomb)),
    });

    const answer = await world.curl("-o", "/dev/null", `${world.origin}/bound/x`);

    assert.notEqual(answer.code, 0);
    assert.equal(world.records[0]?.verdict, "undecodable");
  });

  test("does not delay an event stream", async () => {
    const pending: http.ServerResponse[] = [];
    await using world = await openWorld({
      handler: (_, res) => {
        res.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
        pending.push(res);
      },
    });
    const socket = tls.connect({
      socket: await world.connect(),
      servername: HOST,
      ca: world.boundary.caPem,
    });
    socket.write(`GET /bound/x HTTP/1.1\r\nHost: ${HOST}:${world.port}\r\n\r\n`);
    const [head] = (await once(socket, "data")) as [Buffer];
    assert.match(head.toString(), /text\/event-stream/);

    const times: number[] = [];
    for (let event = 0; event < 20; event++) {
      const start = performance.now();
      pending[0]?.write(`data: {"n":${event}}\n\n`);
      await once(socket, "data");
      times.push(performance.now() - start);
    }

    socket.destroy();
    assert.ok((times.sort((a, b) => a - b)[10] ?? 99) < 10, `median ${times[10]} ms`);
  });
});

suite("a request that could be read in two ways", () => {
  const get = (path: string, ...lines: string[]) =>
    `GET ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`;

  test("has one Host, the one of its connection", async () => {
    await using world = await openWorld({ handler: ok });
    const own = `Host: ${HOST}:${world.port}`;

    for (const hosts of [
      ["Host: evil.example"],
      [own, "Host: evil.example"],
      [own, own],
      [`Host: ${HOST}`],
      [`Host: ${HOST}.:${world.port}`],
      [`Host: API.test:${world.port}`],
      [`Host: a@${HOST}:${world.port}`],
      ["X-Nothing: 1"],
    ]) {
      const text = await world.speak(get("/bound/x", ...hosts));
      assert.match(text, /^HTTP\/1\.1 4(?:00|21) /, hosts.join());
    }
    await world.curl("-H", `Host: ${HOST}:${world.port}`, "http://evil.example/");

    assert.equal(world.received.length, 0);
    assert.equal(world.records[0]?.verdict, "refused_name_mismatch");
  });

  test("has the server name of its CONNECT, and only TLS inside", async () => {
    await using world = await openWorld({ handler: ok });
    const text = get("/bound/x", `Host: ${HOST}:${world.port}`);
    const unchecked = { checkServerIdentity: () => undefined };

    const wrong = await world.speak(text, { servername: "evil.test", ...unchecked });
    const none = await world.speak(text, { servername: "", host: HOST, ...unchecked });
    const bare = await world.connect();
    bare.write(text);
    const plain = await readAll(bare);

    assert.deepEqual([wrong, none], ["", ""]);
    assert.match(plain, /^HTTP\/1\.1 400 .*not_tls/s);
    assert.equal(world.received.length, 0);
    const verdicts = world.records.map((record) => record.verdict);
    assert.deepEqual(verdicts, ["refused_name_mismatch", "refused_name_mismatch", "refused_rule"]);
  });

  test("spells its path in the one plain way", async () => {
    await using world = await openWorld({ handler: ok });
    const paths = [
      "/bound/../admin",
      "/bound/./x",
      "/bound/..",
      "/bound//x",
      "//bound/x",
      "/bound/..;/x",
      "/bound/%2e%2e/x",
      "/bound/%2E%2E/x",
      "/bound/a%2fb",
      "/bound/a%5cb",
      "/bound/a\\b",
      "/bound/a%00",
      "/bound/%252e%252e/x",
      "/bound/..%3b/x",
      "/bound/a#b",
      "/bound/%zz",
      "/bound/%c0%ae/x",
      "/bound/\xe4",
      "/bound/x?_method=DELETE",
      "/bound/x?access_token=1",
      "*",
      "bound/x",
      `http://${HOST}/bound/x`,
      "/bound/..%20/x",
    ];

    for (const path of paths) {
      const text = await world.speak(get(path, `Host: ${HOST}:${world.port}`));
      assert.match(text, /^HTTP\/1\.1 400 /, `${path} → ${text}`);
    }

    assert.equal(world.received.length, 0);
  });

  test("is framed in one way, and is not an upgrade, a trace or a tunnel", async () => {
    await using world = await openWorld({ handler: ok });
    const own = `Host: ${HOST}:${world.port}`;

    for (const text of [
      `POST /bound/x HTTP/1.1\r\n${own}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      `POST /bound/x HTTP/1.1\r\n${own}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde`,
      `POST /bound/x HTTP/1.1\r\n${own}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
      get("/bound/x", own, "X: a\r\n folded"),
      get("/bound/x", own, "Connection: upgrade", "Upgrade: websocket"),
      get(
        "/bound/x",
        own,
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABk",
      ),
      get("/bound/x", own, `X-Big: ${"a".repeat(20_000)}`),
      `TRACE /bound/x HTTP/1.1\r\n${own}\r\n\r\n`,
      `CONNECT ${HOST}:${world.port} HTTP/1.1\r\n${own}\r\n\r\n`,
      `GET /bound/x HTTP/1.0\r\n${own}\r\n\r\n`,
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]) {
      const answer = await world.speak(text);
      assert.match(answer, /^HTTP\/1\.1 4\d\d /, text.slice(0, 60));
    }
    const large = await world.speak(get("/bound/x", own, `X-Big: ${"a".repeat(20_000)}`));
    assert.match(large, /^HTTP\/1\.1 431 /);
    const h2 = await world.speak(get("/bound/x", own), { ALPNProtocols: ["h2"] });

    assert.equal(h2, "");
    assert.equal(world.received.length, 0);
  });

  test("is refused with all that follows it on its connection", async () => {
    await using world = await openWorld({ handler: ok });
    const own = `Host: ${HOST}:${world.port}`;

    const text = await world.speak(get("/bound/../x", own) + get("/bound/x", own));

    assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1);
    assert.equal(world.received.length, 0);
  });

  test("matches one credential, not two", async () => {
    await using world = await openWorld({ handler: ok, credentials: "two" });

    const answer = await world.curl(`${world.origin}/bound/x`);

    assert.equal(answer.status, 403);
    assert.match(answer.body, /"github\\" and \\"other/);
    assert.equal(world.received.length, 0);
    assert.equal(world.records[0]?.verdict, "refused_ambiguous");
  });
});

suite("the end of a call", () => {
  test("cuts open requests and connections, and leaves no listener", async () => {
    const closed: string[] = [];
    await using world = await openWorld({
      handler: (req, res) => {
        req.socket.once("close", () => closed.push("upstream"));
        res.write("begin");
      },
    });
    const { port } = world.call;
    const running = world.curl(`${world.origin}/bound/slow`);
    const idle = await world.connect();
    await until("the request upstream", () => world.received.length === 1);

    await world.call[Symbol.asyncDispose]();

    assert.equal(world.records.length, 2);
    assert.ok(world.records.every((record) => record.verdict === "refused_ended"));
    assert.notEqual((await running).code, 0);
    await until("all connections closed", () => closed.length === 1 && idle.destroyed);
    const late = net.connect(port, "127.0.0.1");
    const [error] = (await once(late, "error")) as [NodeJS.ErrnoException];
    assert.equal(error.code, "ECONNREFUSED");
    await world.call[Symbol.asyncDispose]();
  });

  test("comes at once also while an upstream is silent", async () => {
    await using world = await openWorld({ handler: () => {} });
    const running = world.curl(`${world.origin}/bound/silent`);
    await until("the request upstream", () => world.received.length === 1);
    const start = performance.now();

    await world.call[Symbol.asyncDispose]();

    assert.ok(performance.now() - start < 500);
    assert.notEqual((await running).code, 0);
    assert.equal(world.records[0]?.status, null);
  });

  test("closes upstream connections too: idle ones and those that are being made", async () => {
    await using world = await openWorld({ handler: ok });
    await world.curl(`${world.origin}/bound/x`);
    const dialled: net.Socket[] = [];
    const mute = net.createServer((socket) => dialled.push(socket)).listen(0, "127.0.0.1");
    await once(mute, "listening");
    const { port } = mute.address() as net.AddressInfo;
    await using dialling = await openWorld({ handler: ok, rule: { port } });
    const running = dialling.curl(`https://${HOST}:${port}/x`);
    await until("the dial", () => dialled.length === 1);

    await world.call[Symbol.asyncDispose]();
    await dialling.call[Symbol.asyncDispose]();

    const upstream = world.received[0]?.socket;
    await until("the idle upstream connection closed", () => upstream?.destroyed === true);
    for (const socket of dialled) {
      socket.resume();
      await until("the half-made upstream connection closed", () => socket.destroyed);
    }
    await running;
    mute.close();
  });
});

suite("the bounds of a call", () => {
  test("stop its requests and connections at the cap, and its records with them", async () => {
    await using world = await openWorld({ handler: ok, limits: { requests: 3 } });
    await using narrow = await openWorld({ handler: ok, limits: { connections: 2 } });

    const statuses: number[] = [];
    for (let index = 0; index < 6; index++) {
      statuses.push((await world.curl(`${world.origin}/bound/x`)).status);
    }
    await narrow.connect();
    await narrow.connect();
    const third = net.connect(narrow.call.port, "127.0.0.1");
    await readAll(third);

    // Beyond the cap CONNECT itself is refused, and then there is no inner status.
    assert.deepEqual(statuses, [200, 200, 200, 429, 0, 0]);
    assert.equal(world.received.length, 3);
    assert.equal(world.records.length, 4);
  });

  test("stop a body that is too large, in either direction", async () => {
    await using world = await openWorld({
      handler: (req, res) => void req.resume().on("end", () => res.end("a".repeat(5000))),
      limits: { bytesUp: 1000, bytesDown: 4000 },
    });

    const up = await world.curl(`${world.origin}/bound/x`, "--data-binary", "a".repeat(2000));
    const down = await world.curl(`${world.origin}/bound/x`);

    assert.equal(up.status, 413);
    // Told where nothing of it was passed on yet, cut off where something was.
    assert.equal(down.status, 502);
    assert.ok(!down.body.includes("aaaa"));
  });
});
