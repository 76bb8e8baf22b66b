// What carries from one call to another or to the agent: cases 25, 31, 42, 97 and 98 of the attack list, in a real run.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, afterEach, before, suite, test } from "node:test";
import { until } from "../helpers/until.ts";
import {
  boundTool,
  type BoundaryRange,
  CANARIES,
  networkRule,
  openBoundaryRange,
} from "../helpers/boundary-range.ts";

const FORM = { header: "Authorization", format: "Bearer {{secret}}" };
/** Does what files of the workspace ask for, in TLS inside CONNECT, for as long as it is let. */
const RELAY = String.raw`mkdir -p asked; seen=; for round in $(seq 1 60); do
  for file in asked/*; do case " $seen " in *" $file "*) continue;; esac; [ -f "$file" ] || continue; seen="$seen $file";
    curl -sS --max-time 3 -o /dev/null -w "$file %{http_code}\n" "$(cat "$file")" 2>&1; done; sleep 0.05; done`;

suite("what calls carry", () => {
  let it: BoundaryRange;
  let from = 0;
  const sent = () => it.upstream.received.slice(from);
  const withCredential = () => sent().filter((one) => JSON.stringify(one).includes(CANARIES.plain));
  const workspace = (name: string) => path.join(it.range.lab.workspace, name);

  before(async () => {
    it = await openBoundaryRange((upstream) => {
      const bound = boundTool(upstream, "plain", { ...FORM, budget: { requests: 4 } }) as {
        sandbox: object;
      };
      const other = boundTool(upstream, "odd", FORM) as { sandbox: object };
      const rw = { workspace: "rw", timeout: "30s" };
      return {
        tools: {
          relay: { ...bound, sandbox: { ...bound.sandbox, ...rw } },
          "live-relay": { sandbox: { network: [networkRule(upstream)], ...rw } },
          uploads: { ...other, sandbox: { ...other.sandbox, ...rw } },
          plain: { sandbox: { workspace: "rw" } },
        },
      };
    });
  });
  afterEach(async () => {
    rmSync(workspace("asked"), { recursive: true, force: true });
    await it.sweep();
  });
  after(async () => {
    await it[Symbol.asyncDispose]();
  });

  const ask = (name: string, url: string): void => {
    mkdirSync(workspace("asked"), { recursive: true });
    writeFileSync(workspace(`asked/${name}`), url);
  };

  test("97: a tool with a credential hears nothing of the agent while it runs, and does only what its binding and budget allow, all of it on record", async () => {
    from = it.upstream.received.length;
    const base = `https://${it.authority}`;
    for (let each = 1; each <= 6; each += 1) ask(`a${each}`, `${base}/bound/${each}`);
    ask("b-path", `${base}/admin`);
    ask("b-host", "https://elsewhere.test/");
    ask("b-metadata", "http://169.254.169.254/latest/meta-data");
    const running = it.range.attack("relay", RELAY);
    // Its copy was taken before its first request.
    await until("a first request", () => (sent().length > 0 ? true : undefined));
    const late = setInterval(() => ask(`late-${Date.now()}`, `${base}/bound/late`), 100);
    const { outcome, stdout, requests, record } = await running;
    clearInterval(late);

    assert.equal(outcome, "completed", stdout);
    assert.ok(
      !sent().some((one) => JSON.stringify(one).includes("late")),
      "a request asked for later",
    );
    assert.equal(withCredential().length, 4, stdout);
    assert.deepEqual(
      withCredential().map((one) => one.target),
      ["/bound/1", "/bound/2", "/bound/3", "/bound/4"],
    );
    assert.equal(record.requests, requests.length);
    const verdicts = Object.groupBy(requests, ({ verdict }) => verdict);
    assert.equal(verdicts.allowed?.length, 4);
    assert.deepEqual(
      verdicts.refused_rule?.map((one) => one.path),
      ["/bound/5", "/bound/6"],
    );
    assert.equal(verdicts.allowed_without_credential?.length, 1);
    const elsewhere = requests.filter((one) => one.host !== it.authority);
    assert.ok(elsewhere.length >= 1 && elsewhere.length <= 2, JSON.stringify(elsewhere));
    for (const one of elsewhere) assert.match(one.verdict, /^refused_(?:host|ambiguous|address)$/);
  });

  test("97: a tool without a credential is a live relay, to its own hosts alone, each request on record, and ends with its call", async () => {
    from = it.upstream.received.length;
    const running = it.range.attack("live-relay", RELAY);
    for (let each = 0; each < 5; each += 1) {
      ask(`live-${each}`, `https://${it.authority}/bound/live-${each}`);
      ask(`else-${each}`, `https://elsewhere-${each}.test/`);
      await new Promise((resolve) => setTimeout(resolve, 150));
    }
    const { outcome, stdout, requests } = await running;
    const ended = it.upstream.received.length;
    ask("after", `https://${it.authority}/bound/after`);
    await new Promise((resolve) => setTimeout(resolve, 500));

    assert.equal(outcome, "completed", stdout);
    assert.equal(sent().length, 5, stdout);
    assert.deepEqual(withCredential(), []);
    assert.equal(
      requests.filter(({ verdict }) => verdict === "allowed_without_credential").length,
      5,
    );
    assert.equal(requests.filter(({ verdict }) => verdict === "refused_host").length, 5);
    assert.equal(it.upstream.received.length, ended);
  });

  test("98: what one tool with a credential brings and another is given is named by content in both receipts", async () => {
    const loot = "what only the first tool may read";
    const sha256 = createHash("sha256").update(loot).digest("hex");
    const first = await it.range.attack("relay", `printf '${loot}' > loot; rm -f none`);
    const moved = await it.range.attack("plain", "mkdir deep; mv loot deep/harmless");
    const second = await it.range.attack("uploads", "cat deep/harmless; echo more > mine");
    const third = await it.range.attack("relay", "cat mine");

    assert.deepEqual(first.record.workspace?.brought, {
      files: [{ path: "loot", sha256 }],
      count: 1,
    });
    assert.equal(moved.record.workspace, undefined);
    assert.equal(second.stdout, loot);
    assert.deepEqual(second.record.workspace?.given, {
      files: [{ path: "deep/harmless", sha256, from: first.record.call }],
      count: 1,
    });
    const given = third.record.workspace?.given?.files.map(({ path: name, from: call }) => [
      name,
      call,
    ]);
    assert.deepEqual(given, [
      ["deep/harmless", first.record.call],
      ["mine", second.record.call],
    ]);
  });

  test("25: nobody but the run says where a tool works: no argument, no link, no directory of the workspace", async () => {
    symlinkSync("/", workspace("root-link"));
    symlinkSync(it.range.lab.data, workspace("data-link"));
    const { stdout, outcome } = await it.range.attack(
      "plain",
      `pwd; cd root-link && ls opt; cd /workspace/data-link && ls; cd /; ls -d ${it.range.lab.data} ${it.range.lab.runtime} ${it.range.lab.config}; PWD=/x pwd`,
    );

    assert.equal(outcome, "completed");
    // Its own root at most: links are names, and lead to nothing of the host.
    assert.match(stdout, /^\/workspace\nagentkube\ntool\n\/\n$/);
    rmSync(workspace("root-link"));
    rmSync(workspace("data-link"));
  });

  test("42: a call is of the bytes that were admitted: another version is unknown, and a changed package, manifest or copy changes no call", async () => {
    const before = await it.range.attack("plain", "cat /opt/tool/client.ts | sha256sum");
    writeFileSync(path.join(it.range.lab.config, "hostile/client.ts"), "// another version\n");
    const manifest = path.join(it.range.lab.config, "range.yaml");
    writeFileSync(manifest, readFileSync(manifest, "utf8").replaceAll("/bin/sh", "/bin/false"));
    const afterwards = await it.range.attack(
      "plain",
      "cat /opt/tool/client.ts | sha256sum; echo x > /opt/tool/client.ts",
    );

    assert.equal(afterwards.stdout, before.stdout);
    const started = it.range.audit().filter(({ type }) => type === "call_started");
    const digests = new Set(
      started.flatMap((one) =>
        one.type === "call_started" && one.tool === "plain" ? [one.digest] : [],
      ),
    );
    assert.equal(digests.size, 1);
    for (const name of [
      "plain@1.0",
      "plain:latest",
      `plain@${[...digests][0]}`,
      "Plain",
      "plain%40x",
    ]) {
      const reply = await it.range.call(encodeURIComponent(name), "echo ran").catch(() => null);
      assert.ok(reply === null || reply.outcome === "refused", `${name}: ${JSON.stringify(reply)}`);
    }
    assert.ok(existsSync(manifest));
  });
});
