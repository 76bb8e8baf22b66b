// How each runtime is started and how its structured output is judged: promises that hold without its CLI.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { suite, test } from "node:test";
import { driverOf } from "../../src/agentlet/drivers/registry.ts";
import type { Launch } from "../../src/agentlet/drivers/driver.ts";
import type { endOfProgram } from "../../src/agentlet/exit.ts";
import { Runtime } from "../../src/protocol/runtimes.ts";
import type { Mode } from "../../src/protocol/agent-manifest.ts";
import { aRunSpec } from "./run-spec.ts";

const GATEWAY = { url: "http://127.0.0.1:4180", agentToken: "agent-token-".padEnd(43, "x") };
const KEY = "sk-0123456789abcdefghijklmnopqrstuvwxyz";
const MODES: Mode[] = ["supervised", "system"];

interface Given {
  mode?: Mode;
  goal?: string | null;
  modelKey?: string;
  resume?: string | null;
}

function launchOf(runtime: Runtime, given: Given = {}): Launch {
  const { mode = "system", goal = "--fix it", modelKey, resume = null } = given;
  const spec = aRunSpec({ agent: { runtime, goal, argv: ["/opt/cli"], mode }, tools: ["clock"] });
  const gateway = modelKey === undefined ? GATEWAY : { ...GATEWAY, modelKey };
  return driverOf(runtime).prepare({ spec, gateway, resume });
}

const filesOf = (launch: Launch) =>
  launch.files.map((file) => `${file.path}\n${file.data.toString()}`).join("\n");

suite("a launch of every runtime", () => {
  for (const runtime of Runtime.options) {
    test(`${runtime}: no token and no key in argv, in either mode`, () => {
      for (const mode of MODES) {
        const argv = launchOf(runtime, { mode, modelKey: KEY }).argv.join("\n");
        assert.ok(!argv.includes(GATEWAY.agentToken) && !argv.includes(KEY));
      }
    });

    test(`${runtime}: brokered, every address is the gateway's and nothing looks like another key`, () => {
      for (const mode of MODES) {
        const launch = launchOf(runtime, { mode });
        const text = [...Object.values(launch.env), filesOf(launch)].join("\n");
        const hosts = [...text.matchAll(/https?:\/\/([^/"'\s]+)/g)].map(([, host]) => host);
        assert.deepEqual(
          hosts.filter((host) => host !== "127.0.0.1:4180" && host !== "opencode.ai"),
          [],
        );
        assert.doesNotMatch(text, /sk-[A-Za-z0-9]/);
      }
    });

    test(`${runtime}: a goal that looks like an option, or is too long for argv, is a goal`, () => {
      const long = "g".repeat(200_000);
      for (const mode of MODES) {
        const { argv, files } = launchOf(runtime, { mode, goal: long });
        assert.ok(argv.every((word) => word.length < 150_000));
        const goal = files.find((file) => file.path === "/home/agent/.agentkube/goal");
        assert.equal(goal?.data.toString(), long);
        const short = launchOf(runtime, { mode }).argv;
        const at = short.indexOf("--fix it");
        const before = short[at - 1] ?? "";
        assert.ok(at === -1 || ["--", "-t", "--prompt", "--message"].includes(before), before);
      }
    });
  }

  test("Codex starts without its daemon in the versions that have one, also when its program needs another to run it", () => {
    const started = (help: string): string => {
      const stand = `if [ "$1" = --help ]; then echo "${help}"; else printf '%s|' "$@"; fi`;
      const argv = ["/bin/sh", "-c", stand, "it's codex"];
      const spec = aRunSpec({
        agent: { runtime: "Codex", goal: "do it", argv, mode: "supervised" },
      });
      const [program = "", ...words] = driverOf("Codex").prepare({
        spec,
        gateway: GATEWAY,
        resume: "0199-id",
      }).argv;
      return spawnSync(program, words, { encoding: "utf8" }).stdout;
    };

    assert.equal(
      started("      --no-daemon"),
      "--no-daemon|--dangerously-bypass-hook-trust|resume|0199-id|--|do it|",
    );
    assert.equal(
      started("      --no-alt-screen"),
      "--dangerously-bypass-hook-trust|resume|0199-id|--|do it|",
    );
  });

  test("a key that the manifest delivers is in the runtime's own variable", () => {
    const variables = {
      ClaudeCode: "ANTHROPIC_API_KEY",
      Codex: "OPENAI_API_KEY",
      OpenCode: "OPENCODE_API_KEY",
      Aider: "OPENAI_API_KEY",
      Goose: "OPENAI_API_KEY",
      Cursor: "CURSOR_API_KEY",
      Custom: "AGENTKUBE_MODEL_KEY",
    } as const;

    for (const [runtime, variable] of Object.entries(variables))
      assert.equal(launchOf(runtime as Runtime, { modelKey: KEY }).env[variable], KEY, runtime);
  });

  test("a resumed session is named to the CLI", () => {
    for (const runtime of ["ClaudeCode", "Codex", "OpenCode", "Cursor", "Goose"] as const)
      assert.ok(launchOf(runtime, { resume: "ses-7" }).argv.includes("ses-7"), runtime);
    const cline = launchOf("Cline", { resume: "ses-7", mode: "supervised", goal: "go on" });
    assert.deepEqual(cline.argv.slice(-2), ["--id", "ses-7"]);
    assert.equal(cline.prompt, "go on");
    assert.ok(launchOf("Aider", { resume: "any" }).argv.includes("--restore-chat-history"));
  });
});

type Exit = Parameters<typeof endOfProgram>[0];
const ZERO: Exit = { kind: "exited", code: 0 };
const ONE: Exit = { kind: "exited", code: 1 };

function judged(runtime: Runtime, lines: object[], exit: Exit = ZERO, stopped = false) {
  const judge = driverOf(runtime).openJudge(aRunSpec({ agent: { runtime, mode: "system" } }));
  assert.ok(judge !== null);
  const text = lines.map((line) => `${JSON.stringify(line)}\r\n`).join("");
  const bytes = Buffer.from(`\x1b[?25l${text}`);
  for (let at = 0; at < bytes.length; at += 7) judge.push(bytes.subarray(at, at + 7));
  return judge.verdict(exit, stopped);
}

suite("a one-shot CLI", () => {
  /** What each says when all went well, when the model failed, and when its key was refused. */
  const said = {
    ClaudeCode: {
      done: { type: "result", subtype: "success", is_error: false, result: "ok" },
      error: { type: "result", is_error: true, terminal_reason: "api_error", result: "overloaded" },
      login: { type: "result", is_error: true, result: "Failed to authenticate. API Error: 401" },
    },
    Codex: {
      done: { type: "turn.completed", usage: {} },
      error: { type: "turn.failed", error: { message: "stream disconnected" } },
      login: { type: "turn.failed", error: { message: "unexpected status 401 Unauthorized" } },
    },
    OpenCode: {
      done: { type: "step_finish", part: { reason: "stop" } },
      error: { type: "error", error: { name: "APIError", data: { message: "overloaded" } } },
      login: { type: "error", error: { name: "APIError", data: { message: "Unauthorized" } } },
    },
    Cline: {
      done: { type: "run_result", finishReason: "completed", text: "ok" },
      error: { type: "run_result", finishReason: "error", text: "overloaded" },
      login: { type: "run_result", finishReason: "error", text: "401 invalid api key" },
    },
    Goose: {
      done: { type: "complete", total_tokens: 1 },
      error: { type: "error", error: "Server error: overloaded" },
      login: { type: "error", error: "Authentication error: 401" },
    },
    Cursor: {
      done: { type: "result", subtype: "success", is_error: false, result: "ok" },
      error: { type: "result", subtype: "error", is_error: true, result: "overloaded" },
      login: { type: "result", is_error: true, result: "Not logged in" },
    },
  } as const;

  for (const [name, { done, error, login }] of Object.entries(said)) {
    const runtime = name as Runtime;
    test(`${runtime} is judged by its result and its exit status together`, () => {
      const noise = { type: "message", text: '"type":"result"' };

      assert.equal(judged(runtime, [noise, done])?.reason, "completed");
      assert.equal(judged(runtime, [noise])?.reason, "result_error", "0 without a result");
      assert.equal(judged(runtime, [done], ONE), null, "its exit status decides");
      assert.equal(judged(runtime, [error])?.reason, "result_error", "an error and 0");
      assert.equal(judged(runtime, [error], ONE)?.reason, "result_error");
      assert.equal(judged(runtime, [login], ONE)?.reason, "login_lost");
      const killed: Exit = { kind: "signalled", signal: "SIGTERM" };
      assert.equal(judged(runtime, [done], killed, true)?.reason, "hung_after_result");
      assert.equal(judged(runtime, [], { kind: "signalled", signal: "SIGKILL" }), null);
    });
  }

  test("a result that is taken back is none", () => {
    const stop = { type: "step_finish", part: { reason: "stop" } };

    assert.equal(judged("OpenCode", [stop, { type: "step_start" }])?.reason, "result_error");
    assert.equal(
      judged("Codex", [{ type: "turn.completed" }, { type: "turn.started" }])?.reason,
      "result_error",
    );
  });

  test("a line of 5 MiB is passed over, and the result after it counts", () => {
    const long = { type: "result", is_error: true, result: "x".repeat(5 * 1024 * 1024) };
    const done = { type: "result", subtype: "success", result: "ok" };
    const judge = driverOf("ClaudeCode").openJudge(
      aRunSpec({ agent: { runtime: "ClaudeCode", mode: "system" } }),
    );

    judge?.push(Buffer.from(`${JSON.stringify(long)}\n${JSON.stringify(done)}\n`));

    assert.equal(judge?.verdict(ZERO, false)?.reason, "completed");
  });
});
