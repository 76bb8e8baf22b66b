import assert from "node:assert/strict";
import { atEnd } from "../helpers/at-end.ts";
import { loadTool } from "../../src/tool-runner/tools.ts";
import { createHmac } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { suite, test } from "node:test";
import type { ToolSpec } from "../../src/protocol/tool-manifest.ts";
import { textOfCall } from "../../src/tool-runner/call-text.ts";
import { runToolCall } from "../../src/tool-runner/run-tool-call.ts";
import type { CallResult } from "../../src/tool-runner/tool-runner.ts";
import {
  aRunner,
  aShellTool,
  aTool,
  never,
  temporaryDirectory,
  type TestRunner,
} from "./support.ts";

const SECRET = "tok-3c2b1a0f9e8d7c6b5a";
const go = (
  runner: TestRunner,
  args: unknown = {},
  caller: AbortSignal = never,
): Promise<CallResult> =>
  runToolCall(runner, { tool: "box", operation: "go", arguments: args, face: "mcp" }, caller);

suite("runToolCall", () => {
  for (const [output, problem] of [
    ["nope", /Expected JSON/],
    ['{"n":"text"}', /"n": must be integer/],
    ['{"n":1,"n":2}', /"n" twice/],
  ] as const) {
    test(`output that its schema does not promise is no success on any face: ${output}`, async (context) => {
      const outputSchema = { type: "object", properties: { n: { type: "integer" } } };
      const operations = [
        { name: "go", command: ["/bin/echo", output], outputSchema },
        { name: "fit", command: ["/bin/echo", '{"n":1}'], outputSchema },
      ];
      const runner = await aRunner(context, [aTool({ operations })]);

      for (const face of ["mcp", "shim", "cli"] as const) {
        const request = { tool: "box", operation: "go", arguments: {}, face };
        const result = await runToolCall(runner, request, never);
        const fit = await runToolCall(runner, { ...request, operation: "fit" }, never);

        assert.deepEqual([result.outcome, result.exitCode], ["completed", 1]);
        assert.match(result.detail?.cause ?? "", problem);
        const shown = textOfCall("box", runner.tools.get("box")?.operations.get("go"), result);
        assert.equal(shown.isError, true);
        assert.match(JSON.stringify(shown.content), /does not fit its outputSchema/);
        assert.deepEqual([fit.exitCode, fit.detail], [0, undefined]);
      }
    });
  }

  test("calls with a value that a pattern backtracks on leave the others their time", async (context) => {
    const schema = { type: "object", properties: { v: { type: "string", pattern: "^(a+)+$" } } };
    const slow = aTool({
      operations: [{ name: "go", command: ["/bin/echo", "{{v}}"], inputSchema: schema }],
    });
    const runner = await aRunner(context, [{ ...slow, name: "slow" }, aShellTool("echo fine")]);
    const before = process.threadCpuUsage();

    const bad = Array.from({ length: 30 }, () =>
      runToolCall(
        runner,
        {
          tool: "slow",
          operation: "go",
          arguments: { v: `${"a".repeat(60)}!` },
          face: "shim",
        },
        never,
      ),
    );
    const good = await go(runner);
    const { user } = process.threadCpuUsage(before);

    assert.equal(good.stdout, "fine\n");
    for (const { outcome } of await Promise.all(bad)) assert.equal(outcome, "refused");
    assert.ok(user / 1000 < 1000, `30 refusals took ${user / 1000} ms`);
  });

  test("gives output and exit code, and puts the call on record", async (context) => {
    const runner = await aRunner(context, [aShellTool("echo out; echo err >&2; exit 7")]);

    const result = await go(runner);

    const { outcome, exitCode, stdout, stderr, tier } = result;
    assert.deepEqual(
      { outcome, exitCode, stdout, stderr, tier },
      { outcome: "completed", exitCode: 7, stdout: "out\n", stderr: "err\n", tier: "standard" },
    );
    const [started, ended] = runner.records;
    assert.equal(
      started?.type === "call_started" && started.arguments,
      createHmac("sha256", runner.auditKey).update("{}").digest("hex"),
    );
    assert.equal(ended?.type === "call" && ended.call === result.call && ended.exitCode, 7);
    assert.match(runner.marks.join("\n"), /^tool box go\ntool box go completed 7 in \d+ ms$/);
  });

  test("gives the tool its own environment, directory and nothing of ours", async (context) => {
    process.env["CANARY_OF_THE_RUNNER"] = SECRET;
    atEnd(context, () => delete process.env["CANARY_OF_THE_RUNNER"]);
    const tool = aShellTool("env | sort; pwd; ls -a / ; ls /proc | grep -c '^[0-9]'", {
      sandbox: { env: { GREETING: "hi" } },
    });

    const { stdout } = await go(await aRunner(context, [tool]));

    assert.match(stdout, /^GREETING=hi$/m);
    assert.match(stdout, /^PATH=\/usr\/local\/bin:\/usr\/bin:\/bin$/m);
    assert.match(stdout, /^\/tmp$/m);
    assert.doesNotMatch(stdout, /CANARY|PROXY|home|root|work/);
    assert.ok(Number(stdout.trimEnd().split("\n").at(-1)) < 8);
  });

  test("passes the arguments as one JSON document when the operation wants it", async (context) => {
    const tool = aTool({
      operations: [
        {
          name: "go",
          command: ["/bin/cat"],
          stdin: "json",
          inputSchema: { type: "object", properties: { text: { type: "string" } } },
        },
      ],
    });

    const { stdout } = await go(await aRunner(context, [tool]), { text: "ä\n$(id)" });

    assert.deepEqual(JSON.parse(stdout), { text: "ä\n$(id)" });
  });

  test("does not mind a tool that closes its input", async (context) => {
    const tool = aTool({
      operations: [
        { name: "go", command: ["/bin/true"], stdin: "json", inputSchema: { type: "object" } },
      ],
    });

    const { outcome } = await go(await aRunner(context, [tool]), { text: "x".repeat(300_000) });

    assert.equal(outcome, "completed");
  });

  test("runs a tool in the tier it asks for, and says which it was; the kernel holds the whole of it to its limits", async (context) => {
    const script = "exec perl -e 'for (1..4) { fork or last } $x = \"a\" x 40000000; sleep 20'";
    const sandbox = { tier: "strict", limits: { memory: "64Mi" } } as const;
    const hog = aShellTool(script, { sandbox });
    const result = await go(await aRunner(context, [hog]));
    if (result.outcome === "refused") return context.skip(result.detail?.cause);
    assert.deepEqual([result.outcome, result.tier], ["killed_by_limit", "strict"]);
    assert.match(result.detail?.cause ?? "", /memory/);
    for (const tier of ["landlock", "pod"] as const)
      assert.match(
        loadTool(aShellTool("true", { sandbox: { tier } })).problems[0]?.problem ?? "",
        /not built yet/,
      );
  });

  for (const [name, script, sandbox, outcome, cause] of [
    ["a timeout", "sleep 30", { timeout: "200ms" }, "timed_out", /200 ms/],
    ["a signal", "kill -SEGV $$", {}, "signalled", /SIGSEGV/],
    [
      "too much memory",
      "exec perl -e '$x = \"a\" x 400000000; sleep 20'",
      { limits: { memory: "64Mi" } },
      "killed_by_limit",
      /memory/,
    ],
    [
      "too much CPU time",
      "while :; do :; done",
      { limits: { cpu: "300ms" } },
      "killed_by_limit",
      /CPU/,
    ],
    ["output without end", "yes", { limits: { output: "64Ki" } }, "killed_by_limit", /output/],
  ] as const) {
    test(`says that it was ${name}`, async (context) => {
      const runner = await aRunner(context, [aShellTool(script, { sandbox })]);

      const result = await go(runner);

      assert.equal(result.outcome, outcome);
      assert.equal(result.exitCode, null);
      assert.match(result.detail?.cause ?? "", cause);
      assert.ok(result.stdout.length < 70_000);
    });
  }

  test("bounds processes and scratch", async (context) => {
    const script =
      "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; head -c 3000000 /dev/zero > /tmp/big; echo rc=$?";
    const tool = aShellTool(script, {
      sandbox: { timeout: "3s", limits: { processes: 16, scratch: "1Mi" } },
    });

    const { outcome, stderr } = await go(await aRunner(context, [tool]));

    assert.notEqual(outcome, "timed_out");
    assert.match(stderr, /fork|Resource temporarily unavailable/);
  });

  test("cuts output at the cap, marks it, and lets the tool finish", async (context) => {
    const tool = aShellTool("head -c 50000 /dev/zero | tr '\\0' x; echo done >&2", {
      sandbox: { limits: { output: "10k" } },
    });

    const { outcome, stdout, stderr, truncated } = await go(await aRunner(context, [tool]));

    assert.deepEqual(
      { outcome, stderr, truncated },
      { outcome: "completed", stderr: "done\n", truncated: true },
    );
    assert.equal(stdout, `${"x".repeat(10_000)}\n[truncated after 10000 bytes]\n`);
  });

  test("ends at once when it is cancelled, and leaves no process", async (context) => {
    const runner = await aRunner(context, [aShellTool("(setsid sleep 987654 &); sleep 987654")]);
    const caller = new AbortController();
    setTimeout(() => caller.abort(), 300);

    const startedAt = performance.now();
    const { outcome } = await go(runner, {}, caller.signal);

    assert.equal(outcome, "cancelled");
    assert.ok(performance.now() - startedAt < 1300);
    assert.deepEqual(processesNamed("987654"), []);
  });

  test("leaves no process of a tool that ended by itself", async (context) => {
    const { outcome } = await go(
      await aRunner(context, [aShellTool("(setsid sleep 876543 &); exit 0")]),
    );

    assert.equal(outcome, "completed");
    assert.deepEqual(processesNamed("876543"), []);
  });

  for (const [name, request, cause] of [
    [
      "an unknown tool",
      { tool: "bx\u001b[2J", operation: "go", arguments: {} },
      /No tool is named/,
    ],
    ["an unknown operation", { tool: "box", operation: "stop", arguments: {} }, /there are go/],
    [
      "arguments that do not fit",
      { tool: "box", operation: "go", arguments: { x: 1 } },
      /unknown argument "x"/,
    ],
  ] as const) {
    test(`refuses ${name}, on record`, async (context) => {
      const runner = await aRunner(context, [aShellTool("true")]);

      const { outcome, detail, tier } = await runToolCall(
        runner,
        { ...request, face: "shim" },
        never,
      );

      assert.equal(outcome, "refused");
      assert.match(detail?.cause ?? "", cause);
      assert.equal(tier, null);
      assert.deepEqual(
        runner.records.map(({ type }) => type),
        ["call"],
      );
      assert.doesNotMatch(runner.marks.join(), /\u001b/);
    });
  }

  test("refuses calls beyond the queue, and all calls after the end of the run", async (context) => {
    const runner = await aRunner(context, [aShellTool("sleep 0.3")], {
      queue: { running: 1, waiting: 1 },
    });

    const outcomes = (await Promise.all([go(runner), go(runner), go(runner)])).map(
      ({ outcome }) => outcome,
    );
    const cut = go(runner);
    runner.end.abort();

    assert.deepEqual(outcomes, ["completed", "completed", "refused"]);
    assert.equal((await cut).outcome, "cancelled");
    assert.equal((await go(runner)).outcome, "refused");
  });

  test("does not run what cannot be put on record", async (context) => {
    const directory = temporaryDirectory(context);
    const runner = await aRunner(
      context,
      [aShellTool("echo x > /workspace/ran", { sandbox: { workspace: "rw" } })],
      { workspace: directory },
    );

    const { outcome } = await go({
      ...runner,
      record: () => {
        throw new Error("disk full");
      },
    });

    assert.equal(outcome, "refused");
    assert.deepEqual(readdirSync(directory), []);
  });

  test("names the interpreter's file when a script cannot start", async (context) => {
    const directory = temporaryDirectory(context);
    writeFileSync(join(directory, "run"), "#!/bin/sh\n", { mode: 0o755 });
    chmodSync(directory, 0o755);
    const tool = aTool({ operations: [{ name: "go", command: ["./run"] }] }, directory);
    const runner = await aRunner(context, [tool]);
    // What is there when a run starts is checked then; this is for what goes missing later.
    writeFileSync(join(directory, "run"), "#!/no/such/interpreter\n");

    const { outcome, detail } = await go(runner);

    assert.equal(outcome, "start_failed");
    assert.match(detail?.cause ?? "", /\/opt\/tool\/run.*ENOENT/);
  });

  test("runs the package read-only, with the workspace as the tool may have it", async (context) => {
    const directory = temporaryDirectory(context);
    const [packageDir, workspace] = [join(directory, "package"), join(directory, "workspace")];
    mkdirSync(packageDir);
    mkdirSync(workspace);
    writeFileSync(join(workspace, "in"), "input");
    writeFileSync(
      join(packageDir, "run"),
      "#!/bin/sh\npwd; cat in; echo x > /opt/tool/run || echo read-only; echo made > out || echo no write\n",
      { mode: 0o755 },
    );
    const toolWith = (mode: "ro" | "rw"): ReturnType<typeof aTool> =>
      aTool(
        { operations: [{ name: "go", command: ["./run"] }], sandbox: { workspace: mode } },
        packageDir,
      );

    const readOnly = await go(await aRunner(context, [toolWith("ro")], { workspace }));
    const writing = await go(await aRunner(context, [toolWith("rw")], { workspace }));

    assert.match(readOnly.stdout, /^\/workspace\ninputread-only\nno write\n$/);
    assert.equal(writing.stdout, "/workspace\ninputread-only\n");
    assert.equal(readFileSync(join(workspace, "out"), "utf8"), "made\n");
  });

  test("keeps what zone A may not change from tools, too", async (context) => {
    const workspace = temporaryDirectory(context);
    writeFileSync(join(workspace, "agent.yaml"), "kept");
    const tool = aShellTool("echo x > agent.yaml; echo y > other", {
      sandbox: { workspace: "rw" },
    });
    const runner = await aRunner(context, [tool], { workspace });
    const path = join(workspace, "agent.yaml");

    await go({
      ...runner,
      workspace: { path: workspace, covers: [{ source: path, target: path, mode: "ro" }] },
    });

    assert.equal(readFileSync(path, "utf8"), "kept");
    assert.equal(existsSync(join(workspace, "other")), true);
  });
});

suite("runToolCall with credentials", () => {
  const credentials = (delivery: object): ToolSpec["credentials"] => [
    { name: "key", secretRef: { name: "s", key: "k" }, ...delivery },
  ];
  const secrets = { "s/k": SECRET };

  test("masks a value the tool was given, in what it prints, in any form", async (context) => {
    const tool = aShellTool("echo $KEY; printf %s $KEY | base64; cat /run/secrets/key", {
      credentials: [
        ...(credentials({ env: "KEY", placeholderEnv: "PLACE" }) ?? []),
        { name: "file", secretRef: { name: "s", key: "k" }, file: "/run/secrets/key" },
      ],
    });
    const runner = await aRunner(context, [tool], { secrets });

    const result = await go(runner);

    assert.equal(result.outcome, "completed");
    assert.doesNotMatch(
      JSON.stringify([result, runner.records]),
      new RegExp(`${SECRET}|${Buffer.from(SECRET).toString("base64").slice(0, 20)}`),
    );
    const ended = runner.records.at(-1);
    assert.ok(ended?.type === "call" && ended.masked >= 3);
  });

  test("works in a copy of the workspace and brings its changes home afterwards", async (context) => {
    const workspace = temporaryDirectory(context);
    writeFileSync(join(workspace, "notes"), "old");
    const tool = aShellTool("cat notes; echo new > notes; sleep 0.4; cat other 2>&1", {
      sandbox: { workspace: "rw" },
      credentials: credentials({ env: "KEY" }),
    });
    const runner = await aRunner(context, [tool], { secrets, workspace });

    const call = go(runner);
    setTimeout(() => writeFileSync(join(workspace, "other"), "live"), 250);
    const result = await call;

    assert.doesNotMatch(result.stdout, /live/);
    assert.equal(readFileSync(join(workspace, "notes"), "utf8"), "new\n");
    assert.deepEqual(readdirSync(runner.callsDir), []);
  });

  test("brings home what several calls made at once, whole", async (context) => {
    const workspace = temporaryDirectory(context);
    const operation = {
      name: "go",
      command: ["/bin/sh", "-c", 'head -c 3000000 /dev/zero | tr "\\0" "$0" > "$0"', "{{n}}"],
      inputSchema: { type: "object", properties: { n: { type: "integer" } } },
    };
    const tool = aTool({
      operations: [operation],
      sandbox: { workspace: "rw" },
      credentials: credentials({ env: "KEY" }),
    });
    const runner = await aRunner(context, [tool], { secrets, workspace });

    await Promise.all([1, 2, 3, 4].map((n) => go(runner, { n })));

    assert.deepEqual(readdirSync(workspace).sort(), ["1", "2", "3", "4"]);
    for (const n of ["1", "2", "3", "4"])
      assert.equal(readFileSync(join(workspace, n), "latin1"), n.repeat(3_000_000));
  });

  test("reaches its hosts through the boundary, which adds the credential, and nothing else", async (context) => {
    const seen: (string | undefined)[] = [];
    const upstream = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.end(`you sent ${request.headers.authorization}`);
    });
    upstream.listen(0, "127.0.0.1");
    await once(upstream, "listening");
    atEnd(context, () => upstream.close());
    const { port } = upstream.address() as AddressInfo;
    // perl is part of every Debian; curl is not.
    const script = `env; exec perl -MIO::Socket::INET -e '
      for my $url (@ARGV) {
        my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:3128") or die "no proxy: $!";
        my ($host) = $url =~ m{^http://([^/]+)};
        print $s "GET $url HTTP/1.1\\r\\nHost: $host\\r\\nConnection: close\\r\\n\\r\\n";
        print while <$s>;
      }' http://api.test:${port}/data http://other.test/x`;
    const tool = aShellTool(script, {
      sandbox: { network: [{ host: "api.test", port, private: true, address: "127.0.0.1" }] },
      credentials: credentials({
        http: {
          hosts: [`api.test:${port}`],
          methods: ["GET"],
          paths: ["/data"],
          header: "Authorization",
          format: "Bearer {{secret}}",
        },
        placeholderEnv: "API_KEY",
      }),
    });
    const runner = await aRunner(context, [tool], { secrets });

    const result = await go(runner);

    assert.equal(result.outcome, "completed");
    assert.doesNotMatch(JSON.stringify(result), new RegExp(SECRET));
    assert.ok(result.requests.some(({ verdict }) => verdict === "refused_host"));
    const sent = result.requests.find(({ host }) => host === `api.test:${port}`);
    assert.deepEqual([sent?.verdict, sent?.credential, sent?.status], ["allowed", "key", 200]);
    assert.deepEqual(seen, [`Bearer ${SECRET}`]);
    assert.match(result.stdout, /^API_KEY=agentkube-placeholder-key$/m);
    const ended = runner.records.at(-1);
    assert.ok(ended?.type === "call" && ended.requests === 2 && ended.masked === 1);
  });
});

function processesNamed(text: string): string[] {
  return readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      const line = readFileSync(`/proc/${name}/cmdline`, "utf8");
      return line.startsWith("sleep\0") && line.includes(text);
    } catch {
      return false;
    }
  });
}
