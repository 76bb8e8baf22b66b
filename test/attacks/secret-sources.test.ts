import assert from "node:assert/strict";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, suite, test } from "node:test";
import { until } from "../helpers/until.ts";
import type { AuditRecord } from "../../src/protocol/audit.ts";
import {
  type BoundaryRange,
  boundTool,
  CANARIES,
  openBoundaryRange,
} from "../helpers/boundary-range.ts";
import { UPSTREAM_HOST } from "../helpers/hostile-upstream.ts";
import { findSecret } from "../helpers/secret-forms.ts";

const ROTATED = "rotated-canary-0123456789-abcdefgh";
type CredentialRecord = Extract<AuditRecord, { type: "credential" }>;

suite("90, 93: a secret that changes, goes away or comes in halves while a call runs", () => {
  let it: BoundaryRange;
  /** the file that --secret plain/token=@FILE named */
  let file = "";
  const put = (value: string): void => {
    writeFileSync(`${file}.new`, value, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  };
  const url = (name: string): string =>
    `https://${UPSTREAM_HOST}:${it.upstream.port}/bound/${name}`;
  /** Asks once a tenth of a second, for as long as the test says by the workspace's file. */
  const asking = (count: number, name = "ok"): string =>
    `for i in $(seq 1 ${count}); do curl -s -m 3 -w ' %{http_code}\n' ${url(name)}; sleep 0.1; done`;
  const sent = (): string[] =>
    it.upstream.received.flatMap(({ lines }) =>
      lines.filter((line) => /^authorization:/i.test(line)),
    );
  const problems = (): (string | null)[] =>
    it.range
      .audit()
      .filter((record): record is CredentialRecord => record.type === "credential")
      .map(({ problem }) => problem);

  before(async () => {
    it = await openBoundaryRange((upstream) => ({
      tools: {
        slow: boundTool(upstream, "plain", {
          header: "Authorization",
          format: "Bearer {{secret}}",
        }),
      },
    }));
    file = path.join(it.range.lab.config, "secret-0");
  });
  after(async () => {
    await it[Symbol.asyncDispose]();
  });

  test("rotated: the next request of the same call carries the new value, masked from then on", async () => {
    const call = it.range.attack("slow", asking(30, "headers"));
    await until("requests with the first value", () => (sent().length > 2 ? true : undefined));

    put(ROTATED);
    await until("a request with the new value", () =>
      sent().some((line) => line.includes(ROTATED)) ? true : undefined,
    );
    const { stdout, requests } = await call;

    const versions = [...new Set(requests.map(({ credentialVersion }) => credentialVersion))];
    assert.deepEqual(versions, ["1.1", "1.2"]);
    assert.deepEqual(findSecret(Buffer.from(stdout), ROTATED), []);
    assert.match(stdout, /Bearer \*{34}/);
    const at = sent().findIndex((line) => line.includes(ROTATED));
    assert.ok(
      sent()
        .slice(at)
        .every((line) => line.includes(ROTATED)),
    );
  });

  test("revoked: an open answer is cut off, and no further request is sent, with the reason on record", async () => {
    put(ROTATED);
    const call = it.range.attack(
      "slow",
      `curl -s -m 20 -o /dev/null ${url("drip")}; echo "cut $?"; ${asking(3)}`,
    );
    const isOpen = (): boolean => it.upstream.received.at(-1)?.target === "/bound/drip";
    await until("the open answer", () => (isOpen() ? true : undefined));
    const before = it.upstream.received.length;

    rmSync(file);
    const { stdout, requests, record } = await call;

    assert.match(stdout, /^cut (?:18|56|52)\n/);
    assert.equal(it.upstream.received.length, before);
    assert.ok(requests.every(({ verdict }) => verdict === "refused_credential"));
    assert.match(stdout, /"credential_unusable"[^]* 502\n/);
    assert.equal(record.outcome, "completed");
    assert.ok(problems().includes("file cannot be read: ENOENT"));
  });

  test("half there: empty, too short, a directory, partly written: nothing is sent, and nothing older", async () => {
    const before = it.upstream.received.length;
    for (const change of [
      () => put(""),
      () => put("short"),
      () => put(`two\nlines-${"x".repeat(20)}`),
    ]) {
      change();
      const { stdout, requests } = await it.range.attack("slow", asking(1));
      assert.match(stdout, /credential_unusable/);
      assert.deepEqual(
        requests.map(({ verdict }) => verdict),
        ["refused_credential"],
      );
    }
    assert.equal(it.upstream.received.length, before);
    assert.ok(problems().includes("file is empty"));

    put(CANARIES.plain);
    assert.match((await it.range.attack("slow", asking(1))).stdout, /fine 200/);
    await it.sweep();
  });

  test("the audit that tells all this is whole, and names no value", async () => {
    const { run } = await it.range.lab.waitForRun();
    const verify = await it.range.lab.agentkube([
      "tool",
      "receipt",
      "verify",
      run,
      "--data",
      it.range.lab.data,
    ]).ended;

    assert.equal(verify.code, 0, verify.text);
    const text = Buffer.from(JSON.stringify(it.range.audit()));
    for (const secret of [ROTATED, CANARIES.plain]) assert.deepEqual(findSecret(text, secret), []);
  });
});
