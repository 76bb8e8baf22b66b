import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { driverOf } from "../../src/agentlet/drivers/registry.ts";
import { endOfProgram, exitStatusOf } from "../../src/agentlet/exit.ts";
import { zoneEnv, zonePlan } from "../../src/agentlet/zone.ts";
import { aRunSpec } from "./run-spec.ts";

const GATEWAY = { url: "http://127.0.0.1:4180", agentToken: "agent-token-".padEnd(43, "x") };

suite("Claude Code", () => {
  test("a policy that may ask or deny is asked about edits too, as OpenCode's and Codex' are; none, and one that allows, is not", () => {
    const asked = (approvals?: "ask" | "allow" | "deny" | { tool: string; answer: "deny" }[]) => {
      const of = (runtime: "ClaudeCode" | "OpenCode" | "Codex") =>
        driverOf(runtime).prepare({
          spec: aRunSpec({
            agent: {
              runtime,
              mode: "supervised",
              ...(approvals === undefined ? {} : { approvals }),
            },
          }),
          gateway: GATEWAY,
          resume: null,
        });
      const { argv } = of("ClaudeCode");
      const { data } =
        of("OpenCode").files.find(({ path }) => path.endsWith("opencode.json")) ?? {};
      const { permission } = JSON.parse(String(data)) as { permission: { edit: string } };
      const config = String(
        of("Codex").files.find(({ path }) => path.endsWith("config.toml"))?.data,
      );
      const sandbox = /^sandbox_mode = "(.*)"$/m.exec(config)?.[1];
      return [argv[argv.indexOf("--permission-mode") + 1], permission.edit, sandbox];
    };

    for (const approvals of ["ask", "deny", [{ tool: "Write", answer: "deny" as const }]] as const)
      assert.deepEqual(asked(typeof approvals === "string" ? approvals : [...approvals]), [
        "default",
        "ask",
        "read-only",
      ]);
    for (const approvals of ["allow", undefined] as const)
      assert.deepEqual(asked(approvals), ["acceptEdits", "allow", "workspace-write"]);
  });

  test("is started brokered, with its questions answered beforehand and no token in argv or files", () => {
    const spec = aRunSpec({
      agent: { runtime: "ClaudeCode", goal: "--fix it", argv: ["/opt/claude"], mode: "supervised" },
    });

    const launch = driverOf("ClaudeCode").prepare({ spec, gateway: GATEWAY, resume: null });

    assert.deepEqual(launch.argv.slice(-2), ["--", "--fix it"]);
    assert.equal(launch.argv[launch.argv.indexOf("--permission-mode") + 1], "acceptEdits");
    assert.equal(launch.env["ANTHROPIC_BASE_URL"], "http://127.0.0.1:4180/model/anthropic");
    assert.equal(launch.env["ANTHROPIC_AUTH_TOKEN"], GATEWAY.agentToken);
    const text =
      launch.argv.join(" ") + launch.files.map((file) => file.data.toString()).join("\n");
    assert.ok(!text.includes(GATEWAY.agentToken));
    const state: unknown = JSON.parse(
      launch.files.find((file) => file.path.endsWith(".claude.json"))?.data.toString() ?? "",
    );
    assert.deepEqual(state, {
      hasCompletedOnboarding: true,
      projects: { [spec.zone.workspace]: { hasTrustDialogAccepted: true } },
    });
  });

  test("gets a goal too long for argv as a file to read", () => {
    const goal = "g".repeat(200_000);
    const spec = aRunSpec({
      agent: { runtime: "ClaudeCode", goal, argv: ["/opt/claude"], mode: "system" },
    });

    const launch = driverOf("ClaudeCode").prepare({ spec, gateway: GATEWAY, resume: null });

    assert.match(launch.argv.at(-1) ?? "", /^Read the file \/home\/agent\/\.agentkube\/goal/);
    assert.ok(launch.argv.includes("stream-json"));
    assert.equal(launch.files.find((file) => file.path.endsWith("/goal"))?.data.toString(), goal);
  });
});

suite("a judge of structured output", () => {
  const exit = { kind: "exited", code: 0 } as const;
  const judge = () => {
    const opened = driverOf("ClaudeCode").openJudge(aRunSpec({ agent: { mode: "system" } }));
    assert.ok(opened);
    return opened;
  };

  test("takes no line that nests without end, and reads on", () => {
    const deep = '{"data":'.repeat(20_000) + "1" + "}".repeat(20_000);
    const read = judge();
    read.push(Buffer.from(`{"type":"result","is_error":true,"result":${deep}}\n`));
    assert.equal(read.verdict(exit, false)?.reason, "result_error");
    read.push(Buffer.from('{"type":"result","subtype":"success","is_error":false,"result":"x"}\n'));
    assert.equal(read.verdict(exit, false)?.outcome, "succeeded");
  });
});

suite("the end of a program", () => {
  test("is never a success unless it exited with 0", () => {
    const ends = [
      endOfProgram({ kind: "exited", code: 0 }, "/bin/x"),
      endOfProgram({ kind: "exited", code: 7 }, "/bin/x"),
      endOfProgram({ kind: "signalled", signal: "SIGSEGV" }, "/bin/x"),
      endOfProgram({ kind: "failed", errno: "ENOENT", step: "exec" }, "/bin/x"),
      endOfProgram({ kind: "lost" }, "/bin/x"),
    ].map((end) => [end.outcome, end.reason, end.exitCode, end.signal]);

    assert.deepEqual(ends, [
      ["succeeded", "exited", 0, null],
      ["failed", "exited", 7, null],
      ["failed", "signalled", null, "SIGSEGV"],
      ["failed", "spawn_failed", null, null],
      ["failed", "agentlet_fault", null, null],
    ]);
  });

  test("gives the recording the status that a shell would show", () => {
    const status = (exit: Parameters<typeof endOfProgram>[0]) =>
      exitStatusOf(endOfProgram(exit, "x"), exit);

    assert.deepEqual(
      [
        status({ kind: "exited", code: 7 }),
        status({ kind: "signalled", signal: "SIGKILL" }),
        status({ kind: "failed", errno: "ENOENT", step: "exec" }),
        status({ kind: "failed", errno: "EACCES", step: "exec" }),
      ],
      [7, 137, 127, 126],
    );
  });
});

suite("zone A", () => {
  test("sees its workspace, its binds, node and a shim for each tool, and its scratch adds up", () => {
    const spec = aRunSpec({ tools: ["github-issues"] });

    const plan = zonePlan(spec, {
      files: [],
      nodePath: "/usr/bin/node",
      reportSocket: "/tmp/run/report.sock",
    });

    assert.deepEqual(
      plan.binds.map((bind) => [bind.target, bind.mode]),
      [
        [spec.zone.workspace, "rw"],
        ["/opt/agentkube/node", "ro"],
        ["/opt/agentkube/report", "ro"],
        ["/opt/agentkube/report.sock", "ro"],
        ["/opt/agentkube/shim.mjs", "ro"],
        ["/opt/agentkube/session-files.mjs", "ro"],
      ],
    );
    assert.deepEqual(
      plan.files.map((file) => file.path),
      ["/opt/agentkube/bin/github-issues"],
    );
    assert.equal(
      plan.tmpfs.reduce((sum, { bytes }) => sum + bytes, 0),
      spec.zone.scratchBytes,
    );
    assert.deepEqual([plan.network, plan.initArgs], ["own", ["--listen", "4180"]]);
  });

  test("has a proxy only where public hosts may be reached", () => {
    const env = (network: "public" | "gateway") => zoneEnv(aRunSpec({ network }), GATEWAY, {});

    assert.equal(env("public")["HTTPS_PROXY"], `http://agent:${GATEWAY.agentToken}@127.0.0.1:4180`);
    assert.equal(env("gateway")["HTTPS_PROXY"], undefined);
    assert.equal(env("gateway")["NO_PROXY"], "127.0.0.1,localhost");
  });
});
