import assert from "node:assert/strict";
import { after, afterEach, before, suite, test } from "node:test";
import { type BoundaryRange, CANARIES, openBoundaryRange } from "../helpers/boundary-range.ts";
import { UPSTREAM_HOST } from "../helpers/hostile-upstream.ts";

suite("a hostile tool that steers its credential elsewhere", () => {
  let it: BoundaryRange;
  let carried: number;
  before(async () => {
    it = await openBoundaryRange();
  });
  afterEach(async () => {
    await it.sweep();
  });
  after(async () => {
    await it[Symbol.asyncDispose]();
  });

  const get = (target: string, ...fields: string[]) =>
    `GET ${target} HTTP/1.1\r\n${[...fields, "Connection: close"].join("\r\n")}\r\n\r\n`;
  const own = () => `Host: ${it.authority}`;
  const inTls = (send: string | string[], more: object = {}) => ({
    connect: it.authority,
    sni: UPSTREAM_HOST,
    send,
    ...more,
  });
  /** Requests that reached the upstream with the credential since `begin`. */
  const begin = () => (carried = it.upstream.received.length);
  const sent = () => it.upstream.received.slice(carried);
  const withCredential = () =>
    sent().filter((request) => JSON.stringify(request).includes(CANARIES.plain));
  const refused = (said: string[], status: RegExp, what: string[]) => {
    assert.equal(said.length, what.length);
    for (const [index, text] of said.entries())
      assert.match(text, status, `${what[index]} → ${JSON.stringify(text.slice(0, 200))}`);
  };

  test("56: inner Host of a bound host in a tunnel to another, or of another in a bound one", async () => {
    begin();
    const { said } = await it.speak([
      { ...inTls(get("/bound/ok", own())), connect: "attacker.example:443" },
      inTls(get("/bound/ok", "Host: attacker.example")),
      inTls(get("/bound/ok", `Host: ${UPSTREAM_HOST}`)),
    ]);

    refused(said, /^HTTP\/1\.1 4(?:03|21) /, ["CONNECT", "Host", "Host without port"]);
    assert.deepEqual(sent(), []);
  });

  test("57: another TLS name than that of CONNECT, none, or an address", async () => {
    begin();
    const { said } = await it.speak([
      inTls(get("/bound/ok", own()), { sni: "attacker.example" }),
      inTls(get("/bound/ok", own()), { sni: "" }),
      {
        connect: `127.0.0.1:${it.upstream.port}`,
        sni: UPSTREAM_HOST,
        send: get("/bound/ok", own()),
      },
    ]);

    assert.ok(
      said.every((text) => text === "" || text === "no TLS" || text.startsWith("HTTP/1.1 403")),
    );
    assert.deepEqual(sent(), []);
  });

  test("58: absolute form, two Hosts, and every odd spelling of one", async () => {
    begin();
    const hosts = [
      [own(), own()],
      [own(), "Host: attacker.example"],
      [`Host: x@${it.authority}`],
      [`Host: ${UPSTREAM_HOST}.:${it.upstream.port}`],
      [`Host: ${UPSTREAM_HOST.toUpperCase()}:${it.upstream.port}`],
      [`Host: ${it.authority},attacker.example`],
      [`Host:\t${UPSTREAM_HOST} :${it.upstream.port}`],
      [`Host : ${it.authority}`],
      ["X: y"],
      ["Host:"],
    ];
    const { said } = await it.speak([
      ...hosts.map((lines) => inTls(get("/bound/ok", ...lines))),
      inTls(`GET http://attacker.example/bound/ok HTTP/1.1\r\n${own()}\r\n\r\n`),
      inTls(`GET https://${it.authority}/bound/ok HTTP/1.1\r\n${own()}\r\n\r\n`),
      inTls("GET /bound/ok HTTP/1.0\r\n\r\n"),
      inTls(`GET /bound/ok HTTP/1.0\r\n${own()}\r\n\r\n`),
      { send: get("http://attacker.example/bound/ok", own()) },
      { send: get(`http://x@${it.authority}/bound/ok`, own()) },
      { send: get(`ftp://${it.authority}/bound/ok`, own()) },
      { send: get("/bound/ok", own()) },
    ]);

    refused(
      said,
      /^HTTP\/1\.1 4\d\d /,
      said.map((_, index) => `number ${index}`),
    );
    assert.deepEqual(sent(), []);
  });

  test("60: metadata services, the runner's own ports and neighbours, by proxy", async () => {
    begin();
    const targets = [
      "169.254.169.254:80",
      "[fd00:ec2::254]:80",
      "metadata.google.internal:80",
      "localhost:443",
      "127.0.0.1:6443",
      "0x7f000001:443",
      "127.1:443",
      "2130706433:443",
      "[::ffff:127.0.0.1]:443",
      "kubernetes.default.svc:443",
    ];
    const { said } = await it.speak([
      ...targets.map((connect) => ({ connect, send: "x" })),
      ...targets.map((host) => ({ send: get(`http://${host}/latest/meta-data`, `Host: ${host}`) })),
    ]);

    refused(said, /^HTTP\/1\.1 40[03] /, [...targets, ...targets]);
    assert.deepEqual(sent(), []);
  });

  test("61: redirects to another host, scheme, port or path are passed on, never followed", async () => {
    begin();
    const targets = [
      "https://attacker.example/",
      `http://${it.authority}/bound/ok`,
      `https://${UPSTREAM_HOST}:1/bound/ok`,
      `https://${it.authority}/elsewhere`,
    ];
    for (const to of targets) {
      const { said } = await it.get(`/bound/redirect/${Buffer.from(to).toString("hex")}`);
      assert.match(said[0] ?? "", /^HTTP\/1\.1 307 /);
      assert.ok((said[0] ?? "").includes(`Location: ${to}\r\n`));
    }
    // What the tool does with it is a new request, looked at anew.
    await it.get("/elsewhere");

    assert.equal(sent().length, 5);
    assert.equal(withCredential().length, 4);
  });

  test("62: methods and paths outside the grant, and every spelling that a server may resolve into it", async () => {
    begin();
    const ambiguous = [
      "/bound/../admin",
      "/v1/../bound/ok",
      "/bound/./ok",
      "/bound//ok",
      "/bound/%2e%2e/admin",
      "/bound/%2E/ok",
      "/bound/a%2fb",
      "/bound/a%5Cb",
      "/bound\\..\\admin",
      "/bound/..;/admin",
      "/bound/..;x=1/admin",
      "/bound/..%3b/admin",
      "/bound/%00",
      "/bound/ok%0d%0aX:1",
      "/bound/ok#x",
      "/bound/%c0%ae%c0%ae/admin",
      "/bound/%252e%252e/admin",
      "/bound/%u002e/admin",
      "/bound/\u00e9",
      "/bound/ok?_method=DELETE",
      "/bound/ok?access_token=mine",
      "/bound/ok?X-Amz-Signature=1",
    ];
    const elsewhere = [
      "/bound",
      "/Bound/ok",
      "/boundary/ok",
      "/repos/acme/a/b",
      "/repos/acme/",
      "/%62ound/ok",
    ];
    const { said } = await it.speak(ambiguous.map((path) => inTls(get(path, own()))));
    refused(said, /^HTTP\/1\.1 400 /, ambiguous);
    assert.deepEqual(sent(), []);

    const other = await it.speak([
      ...elsewhere.map((path) => inTls(get(path, own()))),
      inTls(`DELETE /bound/ok HTTP/1.1\r\n${own()}\r\nConnection: close\r\n\r\n`),
      inTls(
        `PUT /bound/ok HTTP/1.1\r\n${own()}\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx`,
      ),
      inTls(
        get("/elsewhere/ok", own(), "X-Original-URL: /bound/ok", "X-HTTP-Method-Override: GET"),
      ),
    ]);
    refused(other.said, /^HTTP\/1\.1 (?:200|404) /, other.said);
    assert.equal(sent().length, 9);
    assert.deepEqual(withCredential(), []);
    assert.ok(!/override|original-url/i.test(JSON.stringify(sent())));
    assert.ok(
      other.attack.requests.every(({ verdict }) => verdict === "allowed_without_credential"),
    );
  });

  test("63: the client's own proof, in every field a server may take for one", async () => {
    begin();
    const fields = [
      "Authorization: Bearer mine",
      "authorization: Basic bWluZTptaW5l",
      "Proxy-Authorization: Basic bWluZTptaW5l",
      "Cookie: session=mine",
      "X-Api-Key: mine",
      "X_Api_Key: mine",
      "Api-Key: mine",
      "Private-Token: mine",
      "X-Gitlab-Token: mine",
      "X-Vault-Token: mine",
      "X-Auth-Key: mine",
      "X-Amz-Security-Token: mine",
      "X-Goog-Api-Key: mine",
      "DPoP: mine",
      "X-Forwarded-For: mine",
    ];
    await it.get("/bound/ok", fields);
    const body = "5\r\nhello\r\n0\r\nAuthorization: Bearer mine\r\n\r\n";
    await it.speak([
      inTls(
        `POST /bound/ok HTTP/1.1\r\n${own()}\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\nConnection: close\r\n\r\n${body}`,
      ),
      inTls(get("/elsewhere", own(), ...fields)),
    ]);

    assert.equal(sent().length, 3);
    for (const request of sent())
      assert.ok(!/mine|bWluZ/.test(JSON.stringify(request)), JSON.stringify(request));
    for (const { lines } of withCredential())
      assert.equal(lines.filter((line) => /^authorization:/i.test(line)).length, 1);
    assert.equal(withCredential().length, 2);
  });

  test("65: two requests in one: lengths that disagree, folded lines, bare line ends, bodies where none belongs", async () => {
    begin();
    const post = (fields: string, body: string) =>
      inTls(`POST /bound/ok HTTP/1.1\r\n${own()}\r\n${fields}\r\n\r\n${body}`);
    const smuggled = get("/bound/smuggled", own());
    const cases = [
      post("Content-Length: 5\r\nTransfer-Encoding: chunked", `0\r\n\r\n${smuggled}`),
      post("Content-Length: 5\r\nContent-Length: 6", "abcde"),
      post("Content-Length: 5\r\nContent-Length: 5", "abcde"),
      post("Content-Length: +5", "abcde"),
      post("Content-Length: 0x5", "abcde"),
      post("Content-Length: 5, 5", "abcde"),
      post("Content-Length: 99999999999999999999", "abcde"),
      post("Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
      post("Transfer-Encoding: identity", "abcde"),
      post("Transfer-Encoding : chunked", "0\r\n\r\n"),
      post("Transfer-Encoding: xchunked", "0\r\n\r\n"),
      post("Transfer-Encoding:\u000bchunked", "0\r\n\r\n"),
      post("X: a\r\n folded", ""),
      post("X: a\nContent-Length: 5", "abcde"),
      post("X: a\rY: b", ""),
      post("X\0Y: b", ""),
      post("X Y: b", ""),
      post(": b", ""),
      inTls(`GET /bound/ok HTTP/1.1\n${own()}\n\n`),
      inTls(`GET  /bound/ok HTTP/1.1\r\n${own()}\r\n\r\n`),
      inTls(`GET /bound/ok HTTP/1.1 \r\n${own()}\r\n\r\n`),
      inTls(`GET /bound/ok HTTP/2.0\r\n${own()}\r\n\r\n`),
      inTls(`GET /bound/ok\r\n${own()}\r\n\r\n`),
      inTls(` GET /bound/ok HTTP/1.1\r\n${own()}\r\n\r\n`),
      inTls("\u0000\u0001\u0002\u0003\r\n\r\n"),
      inTls(get("/bound/../x", own()) + smuggled),
    ];
    const { said } = await it.speak(cases);

    refused(
      said,
      /^HTTP\/1\.1 4\d\d |^$/,
      cases.map(({ send }) => JSON.stringify(send)),
    );
    assert.ok(said.every((text) => (text.match(/HTTP\/1\.1 \d/g) ?? []).length <= 1));
    assert.deepEqual(sent(), []);
  });

  test("65: chunks that are no chunks end the request, and what follows a body is the next request", async () => {
    begin();
    const post = (body: string) =>
      inTls(`POST /bound/ok HTTP/1.1\r\n${own()}\r\nTransfer-Encoding: chunked\r\n\r\n${body}`);
    await it.speak([
      post("5\r\nhelloXX\r\n0\r\n\r\n"),
      post("zz\r\nhello\r\n0\r\n\r\n"),
      post("-5\r\nhello\r\n0\r\n\r\n"),
      post("0x5\r\nhello\r\n0\r\n\r\n"),
      post("ffffffffffffffffff\r\nhello"),
      post("5\nhello\r\n0\r\n\r\n"),
      post("5;a=b\r\nhello\r\n0\r\n\r\n"),
      post(`${"0".repeat(5000)}5\r\nhello\r\n0\r\n\r\n`),
    ]);
    assert.ok(
      sent().every(({ body }) => !body.includes("0\r\n\r\n")),
      "no such body arrived whole",
    );

    const twice = await it.speak([
      inTls(
        `POST /bound/ok HTTP/1.1\r\n${own()}\r\nContent-Length: 5\r\n\r\nhello${get("/bound/ok", own())}`,
      ),
      inTls(
        `POST /bound/ok HTTP/1.1\r\n${own()}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n${get("/bound/ok", own())}`,
      ),
    ]);
    for (const text of twice.said) assert.equal(text.match(/HTTP\/1\.1 200/g)?.length, 2, text);
  });

  test("65: connections of two calls are never the same", async () => {
    begin();
    for (let turn = 0; turn < 3; turn++) await it.get("/bound/ok");

    assert.equal(new Set(sent().map(({ connection }) => connection)).size, 3);
  });

  test("66, 67: upgrades, HTTP/2 in every way of asking for it", async () => {
    begin();
    const { said } = await it.speak([
      inTls(
        get(
          "/bound/ok",
          own(),
          "Upgrade: websocket",
          "Sec-WebSocket-Key: x",
          "Sec-WebSocket-Version: 13",
        ),
      ),
      inTls(get("/bound/ok", own(), "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")),
      inTls("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
      inTls(get("/bound/ok", own()), { alpn: ["h2"] }),
      inTls(`CONNECT ${it.authority} HTTP/1.1\r\n${own()}\r\n:protocol: websocket\r\n\r\n`),
      { send: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" },
    ]);

    refused(said, /^HTTP\/1\.1 4\d\d |^no TLS$|^$/, said);
    assert.deepEqual(sent(), []);
  });

  test("68: other ports of a bound host, and what is no TLS inside CONNECT", async () => {
    begin();
    const { said } = await it.speak([
      { connect: `${UPSTREAM_HOST}:22`, send: "SSH-2.0-x\r\n" },
      { connect: `${UPSTREAM_HOST}:25`, send: "EHLO x\r\n" },
      { connect: `${UPSTREAM_HOST}:443`, send: "x" },
      { connect: it.authority, send: get("/bound/ok", own()) },
      { connect: it.authority, send: "SSH-2.0-x\r\n" },
      { connect: it.authority, send: "\u0016\u0003\u0001nonsense that is no hello at all" },
    ]);

    refused(said, /^HTTP\/1\.1 40[03] |^$|^\x15\x03/, said);
    assert.deepEqual(sent(), []);
  });
});
