import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { canMatchSame, ruleProblems, valueProblems } from "../../src/cli/credential-rules.ts";
import type { Credential, HttpCredential, Tool } from "../../src/protocol/tool-manifest.ts";

const rule = (fields: Partial<HttpCredential> = {}): HttpCredential => ({
  hosts: ["api.example.com"],
  methods: ["GET"],
  paths: ["/"],
  header: "Authorization",
  ...fields,
});
const credential = (name: string, fields: Partial<Credential> = {}): Credential => ({
  name,
  secretRef: { name, key: "token" },
  http: rule(),
  ...fields,
});
const aTool = (credentials: Credential[], env: Record<string, string> = {}): Tool => ({
  apiVersion: "agentkube.io/v1alpha1",
  kind: "Tool",
  metadata: { name: "t" },
  spec: {
    operations: [{ name: "run", command: ["/bin/true"] }],
    sandbox: { network: [{ host: "api.example.com" }, { host: "b.example.com", port: 8443 }], env },
    credentials,
  },
});

suite("canMatchSame", () => {
  const table: [left: Partial<HttpCredential>, right: Partial<HttpCredential>, meets: boolean][] = [
    [{}, {}, true],
    [{ methods: ["GET"] }, { methods: ["POST"] }, false],
    [{ hosts: ["a.example.com"] }, { hosts: ["a.example.com:443"] }, true],
    [{ hosts: ["a.example.com"] }, { hosts: ["a.example.com:444"] }, false],
    [{ paths: ["/a"] }, { paths: ["/b"] }, false],
    [{ paths: ["/a"] }, { paths: ["/a/b"] }, false],
    [{ paths: ["/a/"] }, { paths: ["/a/b"] }, true],
    [{ paths: ["/a/"] }, { paths: ["/ab"] }, false],
    [{ paths: ["/a/b"] }, { paths: ["/a/{x}"] }, true],
    [{ paths: ["/a/{x}"] }, { paths: ["/a/{y}/c"] }, false],
    [{ paths: ["/{x}/c"] }, { paths: ["/a/{y}"] }, true],
    [{ paths: ["/a/b/"] }, { paths: ["/a/"] }, true],
    [{ paths: ["/a/b/"] }, { paths: ["/a"] }, false],
    [{ paths: ["/x", "/y"] }, { paths: ["/z", "/y"] }, true],
    [{ paths: ["/"] }, { paths: ["/anything/at/all"] }, true],
  ];
  for (const [left, right, meets] of table)
    test(`${JSON.stringify(left)} and ${JSON.stringify(right)}: ${meets}`, () => {
      assert.equal(canMatchSame(rule(left), rule(right)), meets);
      assert.equal(canMatchSame(rule(right), rule(left)), meets);
    });
});

suite("ruleProblems", () => {
  test("has nothing against a good tool", () => {
    const good = [
      credential("one"),
      credential("two", { http: rule({ hosts: ["b.example.com:8443"] }) }),
    ];
    assert.deepEqual(ruleProblems(aTool(good)), []);
  });

  for (const [title, credentials, says] of [
    [
      "a host outside the network",
      [credential("one", { http: rule({ hosts: ["c.example.com"] }) })],
      /"c\.example\.com:443" is not in/,
    ],
    [
      "a port outside the network",
      [credential("one", { http: rule({ hosts: ["b.example.com"] }) })],
      /"b\.example\.com:443" is not in/,
    ],
    [
      "two rules for one request",
      [credential("one"), credential("two")],
      /"two" and credential "one" can match the same request/,
    ],
    [
      "a name twice",
      [credential("one"), credential("one", { http: rule({ methods: ["PUT"] }) })],
      /declared twice/,
    ],
    [
      "a header that frames the request",
      [credential("one", { http: rule({ header: "Host" }) })],
      /frames the request/,
    ],
  ] as const)
    test(`refuses ${title}`, () => {
      assert.match(ruleProblems(aTool([...credentials])).join("\n"), says);
    });

  test("refuses a variable that is set twice", () => {
    const tool = aTool([credential("one", { placeholderEnv: "TOKEN" })], { TOKEN: "x" });

    assert.match(ruleProblems(tool).join("\n"), /TOKEN is also set/);
  });
});

suite("valueProblems", () => {
  const values = (text: string) => new Map([["one/token", Buffer.from(text)]]);
  const problems = (text: string) => valueProblems(aTool([credential("one")]), values(text));

  test("takes 16 bytes and more", () => assert.deepEqual(problems("0123456789abcdef"), []));
  test("refuses less, without quoting it", () => {
    assert.match(problems("hunter2").join(), /shorter than 16 bytes/);
    assert.doesNotMatch(problems("hunter2").join(), /hunter2/);
  });
  test("refuses a line break", () => {
    assert.match(problems("0123456789abcdef\nX-Evil: 1").join(), /line break/);
  });
});
