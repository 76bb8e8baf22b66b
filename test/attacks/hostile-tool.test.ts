import assert from "node:assert/strict";
import { copyFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { openGreetingApi } from "../../examples/hello/greeting-api.ts";
import { ToolCallResult } from "../../src/protocol/results.ts";
import { openLab, repository } from "../helpers/lab.ts";
import type { CliEnd, Lab } from "../helpers/lab.ts";
import { aTool, addNode, reachApi, writePackage } from "../helpers/manifests.ts";

const SECRET = "S3cret-0123456789-abcdefghij";

/** A tool that runs this shell script in its sandbox, beside a Node and the hostile program. */
function writeTool(lab: Lab, script: string, spec: object = {}): string {
  const directory = path.join(lab.config, "hostile");
  writePackage(directory, `#!/bin/sh\n${script}\n`);
  addNode(directory);
  copyFileSync(
    path.join(repository, "test/fixtures/hostile-tool.ts"),
    path.join(directory, "hostile-tool.ts"),
  );
  return lab.write("tool.yaml", aTool("hostile", spec));
}

async function call(
  lab: Lab,
  tool: string,
  words: string[] = [],
): Promise<{ end: CliEnd; result: ToolCallResult }> {
  const end = await lab.agentkube([
    "tool",
    "call",
    tool,
    "run",
    "--json",
    "--data",
    lab.data,
    ...words,
  ]).ended;
  const line = end.stdout.toString().trim().split("\n").at(-1) ?? "";
  assert.ok(line.startsWith("{"), end.text);
  return { end, result: ToolCallResult.parse(JSON.parse(line)) };
}

suite("a hostile tool", () => {
  test("gets nothing beyond its call: not the host, not the network, not another use of its credential", async () => {
    await using lab = openLab();
    await using api = await openGreetingApi(SECRET);
    const tool = writeTool(lab, "exec /opt/tool/node /opt/tool/hostile-tool.ts", reachApi(api));
    const secret = lab.write("token", SECRET, 0o600);

    const { end, result } = await call(lab, tool, [`--secret=hello-token/token=@${secret}`]);

    assert.equal(result.outcome, "completed", end.text);
    const report = JSON.parse(result.stdout) as {
      attempts: { attempt: string; worked: boolean }[];
      good: string;
    };
    assert.ok(report.attempts.length > 50, `only ${report.attempts.length} attempts`);
    assert.deepEqual(
      report.attempts.filter(({ worked }) => worked),
      [],
    );
    assert.match(report.good, /^200 .*Hello, good!/);
    assert.ok(!end.text.includes(SECRET));
    const misused = api.seen.filter(
      ({ authorized, method, target }) =>
        authorized && !(method === "GET" && /^\/v1\/greeting(?:\?|$)/.test(target)),
    );
    assert.deepEqual(misused, []);
    // Each request is on record with its verdict; the credential went into two of them: the greeting asked twice.
    assert.ok(
      result.requests
        .filter(({ credential }) => credential !== null)
        .every(({ path: route, method }) => route === "/v1/greeting" && method === "GET"),
    );
    assert.ok(result.requests.some(({ verdict }) => verdict === "refused_host"));
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("that leaves a child behind: the child is dead and its proxy gone before the result is there", async () => {
    await using lab = openLab();
    await using api = await openGreetingApi(SECRET);
    const tool = writeTool(
      lab,
      "exec /opt/tool/node /opt/tool/hostile-tool.ts late",
      reachApi(api),
    );
    const secret = lab.write("token", SECRET, 0o600);

    const { end, result } = await call(lab, tool, [`--secret=hello-token/token=@${secret}`]);

    assert.equal(result.outcome, "completed", end.text);
    assert.equal(result.stdout.trim(), "started");
    assert.deepEqual(lab.processes(), []);
    await timers.setTimeout(1500);
    assert.deepEqual(api.seen, []);
    assert.deepEqual(await lab.leftovers(), []);
  });

  const limits: { name: string; script: string; spec: object; outcome: string[] }[] = [
    {
      name: "a fork bomb",
      script: "bomb() { bomb | bomb & wait; }; bomb",
      spec: { limits: { processes: 32 } },
      outcome: ["completed", "timed_out", "signalled", "killed_by_limit"],
    },
    {
      name: "memory without end",
      script: "/opt/tool/node -e 'const held=[];for(;;)held.push(Buffer.alloc(1<<24,1))'",
      spec: { limits: { memory: "256Mi" } },
      outcome: ["killed_by_limit"],
    },
    {
      name: "a busy loop",
      script: "while :; do :; done",
      spec: { limits: { cpu: "1s" }, timeout: "20s" },
      outcome: ["killed_by_limit", "signalled"],
    },
    {
      name: "sleeping for ever",
      script: "trap '' TERM INT HUP; sleep 1000",
      spec: { timeout: "1s" },
      outcome: ["timed_out"],
    },
    {
      name: "killing all it can",
      script: "kill -9 -1; echo still here",
      spec: {},
      outcome: ["signalled", "completed"],
    },
  ];
  for (const { name, script, spec, outcome } of limits) {
    test(`ends at its limit: ${name}`, async () => {
      await using lab = openLab();
      const tool = writeTool(lab, script, { sandbox: { timeout: "5s", ...spec } });

      const { end, result } = await call(lab, tool);

      assert.ok(outcome.includes(result.outcome), end.text);
      assert.ok(result.durationMs < 15_000, `${result.durationMs} ms`);
      assert.deepEqual(await lab.leftovers(), []);
    });
  }

  test("output without end is cut at the limit, with a mark, and the disk it fills is its own", async () => {
    await using lab = openLab();
    const tool = writeTool(
      lab,
      "head -c 100000000 /dev/zero | tr '\\0' x; dd if=/dev/zero of=/tmp/fill bs=1M count=400 2>&1 | tail -1",
      {
        sandbox: { limits: { output: "64Ki", scratch: "32Mi" }, timeout: "30s" },
      },
    );

    const { end, result } = await call(lab, tool);

    assert.ok(result.stdout.length < 70_000, `${result.stdout.length} characters`);
    assert.match(result.stdout, /truncated|cut/i, end.text.slice(-2000));
    assert.deepEqual(await lab.leftovers(), []);
  });
});
