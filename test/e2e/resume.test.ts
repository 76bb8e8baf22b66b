// `agentkube run --resume`: a stand-in for Claude Code keeps a session in its HOME; the real CLIs are in test/runtimes.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { zstdDecompressSync } from "node:zlib";
import { openLab, resultOf } from "../helpers/lab.ts";
import type { CliEnd, Lab } from "../helpers/lab.ts";

const SESSION = "c6b62c6f-7ead-4fd6-9922-e952131177ff";
const KEY = "key_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH";

/** Tells its session by a hook, shows what it finds of it and the way it was started, does what the test wants, and is done. */
const standIn = (script: string) => `#!/bin/sh
cd "$HOME"; mkdir -p .claude/projects/here
echo "started with $*"
cat .claude/projects/here/${SESSION}.jsonl
printf '{"session_id":"${SESSION}"}' | /opt/agentkube/report hook SessionStart
${script}
echo '{"type":"result","subtype":"success","is_error":false,"result":"done"}'
`;
const WRITES = `echo '{"kept":"juniper"}' >> .claude/projects/here/${SESSION}.jsonl`;

interface Started {
  runtime?: string;
  script?: string;
  version?: string;
  goal?: string;
}

/** Runs the stand-in once, with these words after the manifest's. */
async function run(lab: Lab, given: Started, ...words: string[]): Promise<CliEnd> {
  const { runtime = "ClaudeCode", script = WRITES, version = "2.1.300", goal = "begin" } = given;
  const program = runtime === "ClaudeCode" ? "claude" : "codex";
  lab.write("cli/package.json", { name: "cli", version });
  const file = lab.write(`cli/bin/${program}`, standIn(script), 0o755);
  writeFileSync(file, standIn(script));
  const agent = lab.write("agent.yaml", {
    apiVersion: "agentkube.io/v1alpha1",
    kind: "Agent",
    metadata: { name: "it" },
    spec: {
      runtime,
      mode: "system",
      timeout: "40s",
      network: "gateway",
      goal: { inline: goal },
      agentToken: { secretRef: { name: "agent-token", key: "token" } },
    },
  });
  const secret = lab.write("key", KEY, 0o600);
  const PATH = `${path.dirname(file)}:${process.env["PATH"] ?? ""}`;
  return await lab.run([agent, `--secret=agent-token/token=@${secret}`, ...words], {
    env: { PATH },
  }).ended;
}

async function recordingOf(lab: Lab, end: CliEnd): Promise<string> {
  const { recording } = resultOf(end);
  return (await lab.agentkube(["recording", "cat", recording?.path ?? ""]).ended).text;
}

async function eventsOf(lab: Lab, end: CliEnd): Promise<string> {
  return (await lab.agentkube(["logs", resultOf(end).run, "--data", lab.data]).ended).text;
}

/** The refusal of a run that resumes `older`. */
async function refusal(lab: Lab, older: string, given: Started = {}, ...words: string[]) {
  const end = await run(lab, given, "--resume", older, ...words);
  return { code: end.code, detail: resultOf(end).detail };
}

suite("a run that goes on with an older one", () => {
  test("finds the session's files, is started with its name, and refers to the older run", async () => {
    await using lab = openLab();

    const first = await run(lab, {});
    const second = await run(lab, {}, "--resume", resultOf(first).run, "--goal", "go on");

    assert.equal(resultOf(second).outcome, "succeeded", second.text);
    const shown = await recordingOf(lab, second);
    assert.match(shown, new RegExp(`--resume ${SESSION}.* -- go on`));
    assert.match(shown, /"kept":"juniper"/);
    const info = (await lab.agentkube(["ps", "--all", "--json", "--data", lab.data]).ended).text;
    assert.match(info, new RegExp(`"resumes":"${resultOf(first).run}"`));
    assert.match(await eventsOf(lab, second), /goes on with session c6b62c6f/);
    // The third remembers both: what is kept of a resumed run is the whole session.
    const third = await run(lab, {}, "--resume", resultOf(second).run);
    assert.match(await recordingOf(lab, third), /juniper[^]*juniper/);
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("keeps nothing but the session's own plain files, and no token of the run", async () => {
    await using lab = openLab();
    const script = `${WRITES}
echo "token $AGENTKUBE_AGENT_TOKEN end" >> .claude/projects/here/${SESSION}.jsonl
mkdir -p .claude/projects/here/${SESSION}
ln -s /etc/passwd .claude/projects/here/${SESSION}/link
ln -s "$HOME/.agentkube/mcp.json" .claude/projects/there
mkfifo .claude/projects/here/${SESSION}/pipe
echo other > .claude/projects/here/other.jsonl`;

    const end = await run(lab, { script });

    const kept = readFileSync(path.join(lab.data, "runs", resultOf(end).run, "session"));
    const held = zstdDecompressSync(kept.subarray(kept.indexOf(0x0a) + 1)).toString();
    const paths = [...held.matchAll(/^\{"path":"([^"]+)"/gm)].map(([, name]) => name);
    assert.deepEqual(paths, [`.claude/projects/here/${SESSION}.jsonl`]);
    assert.match(held, /token agentkube-masked-[a-z-]+ end/);
  });

  test("a session that is too large is not kept, and the run says so and ends as it did", async () => {
    await using lab = openLab();
    const script = `head -c 68000000 /dev/zero > .claude/projects/here/${SESSION}.jsonl`;

    const end = await run(lab, { script });

    assert.equal(resultOf(end).outcome, "succeeded");
    assert.match(await eventsOf(lab, end), /not kept.*68000000 bytes, at most 67108864 are kept/);
    const { code, detail } = await refusal(lab, resultOf(end).run);
    assert.equal(code, 3);
    assert.match(detail?.cause ?? "", /nothing of its ClaudeCode session was kept/);
  });

  test("is refused with what to do: unknown, another runtime, another workspace, an older CLI, a broken file", async () => {
    await using lab = openLab();
    const older = resultOf(await run(lab, {})).run;

    const typo = `${older.slice(0, -1)}${older.endsWith("0") ? "1" : "0"}`;
    const unknown = await refusal(lab, typo);
    const runtime = await refusal(lab, older, { runtime: "Codex" });
    const workspace = await refusal(lab, older, {}, "--workspace", lab.tmp);
    const version = await refusal(lab, older, { version: "2.1.299" });
    writeFileSync(path.join(lab.data, "runs", older, "session"), "not a session");
    const broken = await refusal(lab, older);

    assert.match(unknown.detail?.cause ?? "", /Unknown run/);
    assert.match(unknown.detail?.fix ?? "", new RegExp(older));
    assert.match(runtime.detail?.cause ?? "", /session is of ClaudeCode, .* runtime is Codex/);
    assert.match(workspace.detail?.fix ?? "", new RegExp(`--workspace ${lab.workspace}`));
    assert.match(
      version.detail?.cause ?? "",
      /written by ClaudeCode 2\.1\.300, and 2\.1\.299 is older/,
    );
    assert.match(broken.detail?.cause ?? "", /Cannot resume run .* as JSON/);
    for (const { code, detail } of [runtime, workspace, version, broken]) {
      assert.equal(code, 3, detail?.cause);
      assert.ok(detail?.fix !== undefined);
    }
  });

  test("is refused while the older run is live", async () => {
    await using lab = openLab();
    // The same for both: the first one's program may not have been read yet when the second is started.
    const waits = { script: `${WRITES}; sleep 38` };
    const live = run(lab, waits);
    const { run: older } = await lab.waitForRun(({ phase }) => phase === "running", 40_000);

    const { code, detail } = await refusal(lab, older, waits);

    assert.equal(code, 3);
    assert.match(detail?.cause ?? "", /still live/);
    assert.match(detail?.fix ?? "", /agentkube attach/);
    await lab.agentkube(["stop", older, "--data", lab.data]).ended;
    await live;
  });
});
