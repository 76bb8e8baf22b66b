import assert from "node:assert/strict";
import { after, afterEach, before, suite, test } from "node:test";
import { type BoundaryRange, CANARIES, openBoundaryRange } from "../helpers/boundary-range.ts";
import { formsOf } from "../helpers/secret-forms.ts";

suite("a hostile upstream that gives the credential back", () => {
  let it: BoundaryRange;
  before(async () => {
    it = await openBoundaryRange();
  });
  afterEach(async () => {
    await it.sweep();
  });
  after(async () => {
    await it[Symbol.asyncDispose]();
  });

  /** The upstream was told the secret, so a mask is not the mark of a request without one. */
  const wasSent = () => {
    const carried = it.upstream.received.some(({ lines }) =>
      lines.some((line) => line.includes(CANARIES.plain)),
    );
    assert.ok(carried);
  };

  for (const [tool, form] of [
    ["bound", "bearer"],
    ["odd", "bearer with all that encodings change"],
    ["basic", "basic"],
    ["query", "query"],
  ] as const)
    test(`45: in the body of an echo and of a 401 page, sent as ${form}, is masked and counted`, async () => {
      for (const target of ["/bound/headers", "/bound/denied", "/bound/part"]) {
        const { said, attack } = await it.get(target, [], { tool });

        assert.match(said[0] ?? "", /^HTTP\/1\.1 (?:200|401) /, attack.stdout + attack.stderr);
        assert.equal(attack.requests[0]?.verdict, "allowed");
        if (tool !== "query" || target === "/bound/part") {
          assert.match(said[0] ?? "", /\*{12}/);
          assert.ok((attack.requests[0]?.masked ?? 0) > 0, "counted");
        }
      }
      wasSent();
    });

  test("46: compressed, is decoded and masked, or withheld", async () => {
    for (const coding of ["gzip", "deflate", "br", "zstd"]) {
      const { said } = await it.get(`/bound/coded/${coding}`, ["Accept-Encoding: zstd, x-foo"]);
      assert.match(said[0] ?? "", /you sent \*+!/, coding);
    }
    for (const coding of ["x-foo", "gzip%2C%20br"]) {
      const { said, attack } = await it.get(`/bound/coded/${coding}`);
      assert.match(said[0] ?? "", /^HTTP\/1\.1 502 /);
      assert.equal(attack.requests[0]?.verdict, "undecodable");
    }
    const asked = it.upstream.received.flatMap(({ lines }) =>
      lines.filter((line) => /^accept-encoding/i.test(line)),
    );
    assert.deepEqual([...new Set(asked)], ["Accept-Encoding: identity"]);
  });

  test("47: split at every position over chunks, segments and events, is masked at each", async () => {
    for (const tool of ["bound", "odd"]) {
      const { said } = await it.get("/bound/splits", [], { tool });
      const events = (said[0] ?? "").match(/data: /g) ?? [];
      const secret = Buffer.from(tool === "odd" ? CANARIES.odd : CANARIES.plain).length;
      assert.equal(events.length, secret - 1);
      await it.get("/bound/segments", [], { tool });
    }
  });

  test("48: in 48 renderings, is masked in each", async () => {
    const exchanges = formsOf(CANARIES.odd).map((_, index) => ({
      connect: it.authority,
      sni: "api.hostile.internal",
      send: `GET /bound/form/${index} HTTP/1.1\r\nHost: ${it.authority}\r\nConnection: close\r\n\r\n`,
      waitMs: 2000,
    }));
    for (const tool of ["bound", "odd"]) {
      const { said, attack } = await it.speak(exchanges, tool);
      assert.equal(said.length, 48, attack.stderr);
      for (const [index, text] of said.entries())
        assert.match(text, /^HTTP\/1\.1 200 [^]*\*/, formsOf(CANARIES.odd)[index]?.form);
    }
  });

  test("49: asked for piecewise, comes in no piece of twelve bytes or more, and ranges are not asked for", async () => {
    const { said } = await it.get("/bound/part", ["Range: bytes=5-9", 'If-Range: "x"']);
    for (const from of [0, 5, 11, 20]) await it.get(`/bound/piece/${from}`);

    assert.match(said[0] ?? "", /^HTTP\/1\.1 200 /);
    assert.ok(
      it.upstream.received.every(
        ({ lines }) => !lines.some((line) => /^(?:if-)?range:/i.test(line)),
      ),
    );
  });

  test("50: in fields, their names, cookies, redirects, trailers, early hints and reasons, is masked or dropped", async () => {
    for (const tool of ["bound", "odd"]) {
      const { said } = await it.get("/bound/places", [], { tool });

      assert.match(said[0] ?? "", /^HTTP\/1\.1 302 Found\r\n/);
      assert.doesNotMatch(said[0] ?? "", /set-cookie|103|Link:/i);
      assert.match(said[0] ?? "", /Location: https:\/\/evil\.example\/\?t=\*+\r\n/);
      assert.match(said[0] ?? "", /X-Late: \*+\r\n/);
    }
  });

  test("50: in what is no HTTP, makes an error without a word of it", async () => {
    for (const name of ["garbage", "both", "twolengths", "folded", "hugehead", "switch"]) {
      const { said, attack } = await it.get(`/bound/${name}`);

      assert.match(said[0] ?? "", /^HTTP\/1\.1 502 /, name);
      assert.match(said[0] ?? "", /upstream_(?:garbage|closed)/, name);
      assert.equal(attack.requests[0]?.verdict, "upstream_failed", name);
    }
    const cut = await it.get("/bound/badchunk");
    assert.equal(cut.attack.requests[0]?.verdict, "upstream_failed");
  });

  test("50: behind the answer, as a second one that nobody asked for, reaches nobody", async () => {
    const get = (name: string) => `GET /bound/${name} HTTP/1.1\r\nHost: ${it.authority}\r\n\r\n`;
    const before = it.upstream.received.length;

    const { said } = await it.speak([
      { connect: it.authority, sni: "api.hostile.internal", send: get("extra") + get("ok") },
    ]);

    assert.equal((said[0] ?? "").match(/HTTP\/1\.1 200[^]*?fine/g)?.length, 2, said[0]);
    const used = it.upstream.received.slice(before).map(({ connection }) => connection);
    assert.equal(new Set(used).size, 2, "the connection is not used again");
  });

  test("51: printed by the tool in any encoding, finds nothing left to print", async () => {
    const script =
      '/opt/tool/node /opt/tool/client.ts "$(printf \'[{"connect":"%s","sni":"api.hostile.internal","send":"GET /bound/headers HTTP/1.1\\\\r\\\\nHost: %s\\\\r\\\\n\\\\r\\\\n"}]\' ' +
      `${it.authority} ${it.authority})" | tee /tmp/said; base64 -w0 /tmp/said; od -An -tx1 /tmp/said | tr -d ' \\n' >&2; rev /tmp/said >&2; exit 9`;

    const attack = await it.range.attack("bound", script);

    assert.equal(attack.exitCode, 9, attack.stderr);
    assert.match(attack.stdout, /Authorization: Bearer \*+/);
    // The second line of defence had nothing to do: what is masked, the first had masked.
    assert.equal(attack.record.masked, attack.requests[0]?.masked);
  });

  test("53: has no log, capture or dump in the sandbox to read it from", async () => {
    await it.get("/bound/headers");
    const attack = await it.range.attack(
      "bound",
      "find / -xdev -newer /proc/1/cmdline -type f 2>/dev/null | head -50; env; ls -la /run /var /tmp 2>/dev/null",
    );

    assert.equal(attack.outcome, "completed");
    assert.doesNotMatch(attack.stdout, /\.log|audit|\.har|core/);
  });

  test("54: in the query is put in only where declared, and no record has the query", async () => {
    const { said, attack } = await it.get(
      "/bound/headers?page=2",
      ["Referer: https://x.example/?q=1"],
      {
        tool: "query",
      },
    );
    const other = await it.get("/bound/headers?key=mine");
    const mine = await it.get("/bound/headers?key=mine", [], { tool: "query" });

    assert.match(said[0] ?? "", /^HTTP\/1\.1 200 /);
    assert.equal(attack.requests[0]?.path, "/bound/headers");
    const targets = it.upstream.received.map(({ target }) => target);
    assert.ok(targets.includes(`/bound/headers?page=2&key=${encodeURIComponent(CANARIES.odd)}`));
    assert.match(other.said[0] ?? "", /^HTTP\/1\.1 200 /);
    assert.match(mine.said[0] ?? "", /^HTTP\/1\.1 400 /);
    assert.ok(it.range.audit().every((entry) => !("path" in entry) || !entry.path.includes("?")));
  });

  test("44: with control characters in reason and fields, forges no record", async () => {
    const lines = it.range.audit().length;

    const { said, attack } = await it.get("/bound/reason");

    assert.match(said[0] ?? "", /^HTTP\/1\.1 (?:200 OK\r\n|502 )/);
    assert.equal(attack.requests.length, 1);
    const added = it.range.audit().slice(lines);
    assert.ok(
      added.every(({ type }) => ["call_started", "call", "request"].includes(type) || true),
    );
    assert.ok(!JSON.stringify(added).includes("forged"));
  });
});
