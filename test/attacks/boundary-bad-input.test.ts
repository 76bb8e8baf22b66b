import assert from "node:assert/strict";
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import { after, afterEach, before, suite, test } from "node:test";
import {
  type BoundaryRange,
  boundTool,
  networkRule,
  openBoundaryRange,
} from "../helpers/boundary-range.ts";
import { UPSTREAM_HOST } from "../helpers/hostile-upstream.ts";

const BEARER = { header: "Authorization", format: "Bearer {{secret}}" };

/** What a tool with curl sees: the status or curl's complaint, and the words of the answer. */
const curl = (url: string, ...words: string[]) =>
  `curl -sS --max-time 20 ${words.join(" ")} -w '\\n%{http_code}' ${url}; echo "exit $?"`;

suite("an upstream that fails", () => {
  let it: BoundaryRange;
  let downPort: number;
  const mute = net.createServer();
  before(async () => {
    const down = net.createServer().listen(0, "127.0.0.1");
    await once(down, "listening");
    downPort = (down.address() as AddressInfo).port;
    down.close();
    mute.listen(0, "127.0.0.1");
    await once(mute, "listening");
    const mutePort = (mute.address() as AddressInfo).port;
    it = await openBoundaryRange((upstream) => {
      const other = (port: number, change: object = {}) => ({
        sandbox: { network: [{ ...networkRule(upstream), port, ...change }], timeout: "25s" },
        credentials: [
          {
            name: "plain",
            secretRef: { name: "plain", key: "token" },
            http: {
              hosts: [`${UPSTREAM_HOST}:${port}`],
              methods: ["GET"],
              paths: ["/"],
              ...BEARER,
            },
          },
        ],
      });
      return {
        tools: {
          down: other(downPort),
          speechless: other(mutePort),
          stranger: other(upstream.port, { ca: undefined }),
          unknown: other(upstream.port, { address: undefined }),
          hasty: {
            ...(boundTool(upstream, "plain", BEARER) as { sandbox: object }),
            sandbox: { network: [networkRule(upstream)], timeout: "2s" },
          },
          bounded: boundTool(upstream, "plain", { ...BEARER, budget: { down: "20M" } }),
        },
      };
    });
  });
  afterEach(async () => {
    await it.sweep();
  });
  after(async () => {
    mute.close();
    await it[Symbol.asyncDispose]();
  });

  for (const { what, tool, url, status, code } of [
    {
      what: "is down",
      tool: "down",
      url: () => `https://${UPSTREAM_HOST}:${downPort}/x`,
      status: 502,
      code: "upstream_unreachable",
    },
    {
      what: "accepts and never shakes hands",
      tool: "speechless",
      url: () => `https://${UPSTREAM_HOST}:${(mute.address() as AddressInfo).port}/x`,
      status: 504,
      code: "upstream_timeout",
    },
    {
      what: "has a certificate of a stranger",
      tool: "stranger",
      url: () => `https://${it.authority}/bound/ok`,
      status: 502,
      code: "upstream_certificate",
    },
    {
      what: "has a name that nobody knows",
      tool: "unknown",
      url: () => `https://${it.authority}/bound/ok`,
      status: 502,
      code: "upstream_unresolved",
    },
    {
      what: "answers garbage",
      tool: "bound",
      url: () => `https://${it.authority}/bound/garbage`,
      status: 502,
      code: "upstream_garbage",
    },
  ])
    test(`that ${what} is named to the tool, without a secret, and recorded`, async () => {
      const { stdout, outcome, requests } = await it.range.attack(tool, curl(url()));

      assert.equal(outcome, "completed");
      assert.match(stdout, new RegExp(`"code":"${code}"[^]*\n${status}\n?exit 0`), stdout);
      assert.deepEqual(
        requests.map(({ verdict, status: seen }) => [verdict, seen]),
        [["upstream_failed", status]],
      );
    });

  test("that is half closed or cut short gives an answer nobody takes for whole", async () => {
    const { stdout, requests } = await it.range.attack(
      "bound",
      curl(`https://${it.authority}/bound/half`),
    );

    assert.doesNotMatch(stdout, /exit 0/);
    assert.equal(requests[0]?.verdict, "upstream_failed");
  });

  for (const [what, name] of [
    ["never answers", "mute"],
    ["sends one byte every tenth of a second", "drip"],
  ] as const)
    test(`that ${what} ends with the call at the latest`, async () => {
      const started = performance.now();

      const { outcome, requests } = await it.range.attack(
        "hasty",
        curl(`https://${it.authority}/bound/${name}`),
      );

      assert.equal(outcome, "timed_out");
      assert.ok(performance.now() - started < 15_000);
      assert.deepEqual(
        requests.map(({ verdict }) => verdict),
        ["refused_ended"],
      );
    });

  test("that sends without end is cut at the budget", async () => {
    const { stdout, requests } = await it.range.attack(
      "bounded",
      curl(`https://${it.authority}/bound/endless`, "-o", "/dev/null"),
    );

    assert.doesNotMatch(stdout, /exit 0/);
    assert.equal(requests[0]?.verdict, "refused_rule");
    assert.ok((requests[0]?.bytesDown ?? 0) <= 20_100_000);
  });
});
