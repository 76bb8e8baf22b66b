import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, suite, test } from "node:test";
import { until } from "../helpers/until.ts";
import { ReceiptVerifyResult } from "../../src/protocol/results.ts";
import { type AttackRange, openRange } from "../helpers/attack-range.ts";
import { trustedPartsOf } from "../helpers/run-parts.ts";

const CANARY = "receipt-canary-0123456789abcdef";
const HOST = "api.unreachable.example";
const CREDENTIAL = {
  name: "one",
  secretRef: { name: "token", key: "value" },
  http: { hosts: [HOST], methods: ["GET"], paths: ["/mine/"], header: "authorization" },
};

interface Shown {
  argumentsFit?: boolean;
  auditVerified: boolean;
}

suite("receipts of hostile calls", () => {
  let range: AttackRange;
  let run = "";
  const cli = async (...words: string[]) => {
    const end = await range.lab.agentkube(["tool", "receipt", ...words, "--json"]).ended;
    const last = end.stdout.toString().trim().split("\n").at(-1) ?? "";
    return { code: end.code, text: end.text, document: JSON.parse(last) as unknown };
  };
  const verify = async (what: string) => {
    const { code, document } = await cli("verify", what, "--data", range.lab.data);
    return { code, ...ReceiptVerifyResult.parse(document) };
  };

  before(async () => {
    range = await openRange({
      secrets: { "token/value": CANARY },
      tools: {
        armed: { sandbox: { network: [{ host: HOST }] }, credentials: [CREDENTIAL] },
        plain: {},
      },
    });
    run = (await range.lab.waitForRun()).run;
  });
  after(async () => {
    await range[Symbol.asyncDispose]();
  });

  test("a flood of refused requests is bounded in the audit and counted", async () => {
    const flood = await range.attack(
      "armed",
      "for i in $(seq 1 150); do curl -s -o /dev/null http://other.example/$i; done; exit 0",
    );

    const overflow = await until("the overflow record", () =>
      range.audit().find((record) => record.type === "overflow"),
    );
    assert.equal(flood.requests.length, 100);
    assert.equal(overflow.call, flood.record.call);
    assert.deepEqual(overflow.verdicts, { refused_host: 50 });
    assert.equal(flood.record.receipt?.dropped, 50);
  });

  test("arguments and secrets are in the audit as digests and names only, and can be compared later", async () => {
    const script = `: ${CANARY.slice(0, 11)} whatever the agent wrote; true`;
    const { record } = await range.attack("plain", script);
    const show = async (args: string) =>
      await cli("show", run, record.call, "--args", args, "--data", range.lab.data);

    const same = await show(JSON.stringify({ script }));
    const other = await show(JSON.stringify({ script: "true" }));

    assert.deepEqual([same.code, (same.document as Shown).argumentsFit], [0, true], same.text);
    assert.deepEqual([other.code, (other.document as Shown).argumentsFit], [1, false]);
    const text = readFileSync(path.join(range.lab.data, "runs", run, "audit.jsonl"), "utf8");
    assert.ok(!text.includes("whatever the agent wrote"));
    await range.sweep();
  });

  test("87: what looks like somebody's token in an answer is named in the receipt, and is data for the agent", async () => {
    const bait = `ghp_${"a1B2".repeat(9)}`;

    const { stdout, record } = await range.attack("plain", `echo "use this token: ${bait}"`);

    assert.match(stdout, /use this token/);
    assert.deepEqual(record.flagged, ["github"]);
  });

  test("a tool-runner killed in the middle of a call goes on in a new epoch, with the call lost", async () => {
    const { supervisorPid } = await range.lab.waitForRun();
    const cut = range.call("plain", "sleep 86421").catch(() => null);
    await until("the call", () =>
      range.lab.processes().find(({ command }) => command.includes("sleep 86421")),
    );
    const runner = trustedPartsOf(supervisorPid)["tool-runner"];
    assert.ok(runner !== undefined);

    process.kill(runner, "SIGKILL");
    await cut;

    const lost = await until("the receipt of the lost call", () =>
      range.audit().find((record) => record.type === "call" && record.outcome === "lost"),
    );
    assert.equal(lost.epoch, 2);
    const live = await verify(run);
    assert.deepEqual([live.code, live.problems, live.epochs], [0, [], 2]);
  });

  test("the whole audit is found good after the run, and any change of it is named", async () => {
    await range.lab.agentkube(["stop", run, "--data", range.lab.data]).ended;
    await until("the countersigned end", async () =>
      (await verify(run)).countersigned === (await verify(run)).records ? true : undefined,
    );
    const whole = await verify(run);
    assert.deepEqual([whole.code, whole.problems], [0, []]);

    const dir = path.join(range.lab.data, "runs", run);
    const copy = path.join(range.lab.data, "runs", "copy");
    const changes: Record<string, (lines: string[]) => string[]> = {
      "is missing": (lines) => lines.toSpliced(3, 1),
      "is a repetition": (lines) => lines.toSpliced(5, 0, lines[2] ?? ""),
      "out of order": (lines) => lines.with(3, lines[4] ?? "").with(4, lines[3] ?? ""),
      "was changed": (lines) => lines.map((line) => line.replace("/7", "/8")),
      "cut off": (lines) => lines.slice(0, -4),
    };
    for (const [said, change] of Object.entries(changes)) {
      cpSync(dir, copy, { recursive: true });
      const file = path.join(copy, "audit.jsonl");
      const lines = readFileSync(file, "utf8").trimEnd().split("\n");
      writeFileSync(file, `${change(lines).join("\n")}\n`);

      const found = await verify(file);

      assert.equal(found.code, 1, said);
      assert.ok(
        found.problems.some(({ problem }) => problem.includes(said)),
        `${said}: ${JSON.stringify(found.problems)}`,
      );
    }
  });
});
