// A hook's word and the screen differ: what is typed, and where.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { claudeCode } from "../../../src/agentlet/drivers/claude-code.ts";
import { openCode } from "../../../src/agentlet/drivers/open-code.ts";
import { Approver } from "../../../src/agentlet/states/approver.ts";
import { machineClock } from "../../../src/agentlet/states/clock.ts";
import { type Hands, InputLease } from "../../../src/agentlet/states/input-lease.ts";
import { Interaction } from "../../../src/agentlet/states/interaction.ts";
import { matchScreen } from "../../../src/agentlet/states/match-screen.ts";
import { RunStates } from "../../../src/agentlet/states/run-states.ts";
import { isDialogOf } from "../../../src/agentlet/states/same-dialog.ts";
import type { Approvals } from "../../../src/protocol/agent-manifest.ts";
import type { AgentletEvent } from "../../../src/protocol/agentlet-link.ts";

const LINE = "─".repeat(60);
const ASKER = { request: null, by: "a person" };
const dialog = (head: string, ...body: string[]) => [
  LINE,
  ` ${head}`,
  ...body.map((row) => `   ${row}`),
  " Do you want to proceed?",
  " ❯ 1. Yes",
  "   2. No",
  " Esc to cancel · Tab to amend",
];
const REMOVES = dialog("Bash command", "rm -rf /workspace");
const WORKS = ["✻ Working… (3s)", LINE, "❯ ", LINE, "  esc to interrupt"];

/** Claude Code with the given screen, whose hooks say what the test wants. */
function openClaude(
  rows: string[],
  {
    approvals = "ask",
    stranger = "",
    presses = 1,
  }: { approvals?: Approvals; stranger?: string; presses?: number } = {},
) {
  const screen = { rows };
  const typed: string[] = [];
  const acts: string[] = [];
  const emit = (event: AgentletEvent) => {
    if (event.type === "act" && event.phase !== "accepted") acts.push(event.message);
  };
  const options = {
    rules: claudeCode.rules,
    view: () => ({ rows: screen.rows, title: "", cursor: null, takesPaste: true }),
    outputOffset: () => 0,
    emit,
  };
  const states = new RunStates({
    ...options,
    run: "run-x",
    hasWriter: () => false,
    screenOffset: () => 0,
  });
  const interaction = new Interaction({
    ...options,
    states,
    clock: machineClock,
    type: (bytes) => {
      typed.push(`${JSON.stringify(bytes.toString())} into ${screen.rows[1]?.trim()}`);
      return true;
    },
    stranger: () => (stranger === "" ? null : stranger),
    onHands: () => undefined,
    limits: {
      answeredMs: 100,
      composerMs: 100,
      interruptedMs: 100,
      dialogMs: 1000,
      pressAgainMs: 300,
      presses,
    },
  });
  const approver = new Approver({
    states,
    interaction,
    clock: machineClock,
    approvals,
    timeoutMs: undefined,
    hasWriter: () => false,
    notice: () => undefined,
  });
  return {
    screen,
    typed,
    acts,
    states,
    interaction,
    says: (name: string, data: object = {}) => {
      const signal = claudeCode.signalOf?.({ channel: "hook", name, data });
      if (signal !== undefined && signal !== null) states.signal(signal);
    },
    [Symbol.dispose]() {
      approver[Symbol.dispose]();
      void interaction.close();
      states[Symbol.dispose]();
    },
  };
}
const asks = (tool_name: string, tool_input: object) => ({ tool_name, tool_input });

suite("a hook that tells of something else than the screen shows", () => {
  test("an allow is not typed into the dialog of another ask; a refusal is", async () => {
    using cli = openClaude(REMOVES);
    cli.says("PermissionRequest", asks("Bash", { command: "rm -rf /workspace" }));
    cli.says("PermissionRequest", asks("Read", { file_path: "/workspace/README.md" }));
    const allowed = await cli.interaction.answer(ASKER, 2, { kind: "allow" });
    const chosen = await cli.interaction.answer(ASKER, 2, { kind: "option", key: "1" });
    const none = [...cli.typed];
    await cli.interaction.answer(ASKER, 2, { kind: "deny" });

    assert.deepEqual([allowed, chosen, none], ["refused", "refused", []]);
    assert.match(cli.acts[0] ?? "", /shows something else than ask 2/);
    assert.deepEqual(cli.typed, [String.raw`"\u001b" into Bash command`]);
  });

  for (const [what, rows, input] of [
    [
      "wrapped",
      dialog("Bash command", "mkdir /tmp/ma", "de && echo 1"),
      "mkdir /tmp/made && echo 1",
    ],
    [
      "without its beginning",
      dialog("Bash", "the very end of all that is wanted"),
      `${"x ".repeat(90)}the very end of all that is wanted`,
    ],
  ] as const)
    test(`a dialog whose command is ${what} is the one of its hook`, async () => {
      using cli = openClaude([...rows]);
      cli.says("PermissionRequest", asks("Bash", { command: input }));
      await cli.interaction.answer(ASKER, 1, { kind: "allow" });

      assert.equal(cli.typed.length, 1, cli.acts.join());
    });

  test("a dialog that names the file of its hook is the one", async () => {
    using cli = openClaude(dialog("Create file", "notes.txt"));
    cli.says("PermissionRequest", asks("Write", { file_path: "/w/notes.txt", content: "hello" }));
    await cli.interaction.answer(ASKER, 1, { kind: "allow" });

    assert.equal(cli.typed.length, 1, cli.acts.join());
  });

  test("OpenCode's dialog about a directory is that of its event, which carries the command that wants it", () => {
    const [channel, name] = ["event", "permission.asked"] as const;
    const metadata = { command: "mkdir /tmp/made" };
    const data = { permission: "external_directory", patterns: ["/tmp/*"], metadata };
    const ask = openCode.signalOf?.({ channel, name, data })?.ask;
    assert.ok(ask !== undefined);
    const rows = [
      "  ┃  △ Permission required",
      "  ┃    ← Access external directory /tmp",
      "  ┃  - /tmp/*",
      "  ┃   Allow once   Allow always   Reject",
    ];
    const shown = matchScreen(openCode.rules, { rows, title: "", cursor: null }, null);

    assert.equal(ask.detail, "mkdir /tmp/made\n/tmp/*");
    assert.ok(shown !== null && isDialogOf({ ...ask, id: 1, kind: "permission" }, channel, shown));
  });

  test("an ask that says nothing is over once its dialog says something; what was answered blindly is not typed", async () => {
    using cli = openClaude(WORKS);
    cli.says("PermissionRequest", asks("Bash", {}));
    const blind = cli.interaction.answer(ASKER, 1, { kind: "allow" });
    await timers.setTimeout(100);
    cli.screen.rows = REMOVES;
    cli.states.screenChanged();
    const phases = [await blind];
    const { ask } = cli.states.standing;
    phases.push(await cli.interaction.answer(ASKER, ask?.id ?? 0, { kind: "allow" }));

    assert.deepEqual(phases, ["refused", "unconfirmed"]);
    assert.match(cli.acts[0] ?? "", /Ask 1 is over/);
    assert.deepEqual([ask?.id, ask?.tool], [2, "Bash"]);
    assert.match(ask?.detail ?? "", /rm -rf/);
    assert.deepEqual(cli.typed, [`"1" into Bash command`]);
  });

  test("a key is pressed again only while nothing has come of it, on the screen or by a report", async () => {
    const answer = async (meanwhile: (cli: ReturnType<typeof openClaude>) => void) => {
      using cli = openClaude(REMOVES, { presses: 2 });
      cli.says("PermissionRequest", asks("Bash", { command: "rm -rf /workspace" }));
      const answered = cli.interaction.answer(ASKER, 1, { kind: "allow" });
      for (let waited = 0; cli.typed.length === 0 && waited < 3000; waited += 10)
        await timers.setTimeout(10);
      meanwhile(cli);
      assert.equal(await answered, "unconfirmed");
      return cli.typed.length;
    };

    assert.equal(await answer(() => undefined), 2);
    assert.equal(await answer((cli) => (cli.screen.rows = ["● Bash", ...REMOVES])), 1);
    assert.equal(
      await answer((cli) =>
        cli.says("PermissionRequest", asks("Bash", { command: "rm -rf /workspace" })),
      ),
      1,
    );
  });

  test("a policy's answer goes only into the dialog that it judged; what came instead is judged anew", async () => {
    const approvals: Approvals = [
      { tool: "Read*", answer: "allow" },
      { tool: "*", answer: "deny" },
    ];
    using cli = openClaude(dialog("Read file", "Read(README.md)"), { approvals });
    cli.interaction.lease.person(Buffer.from("x"), "0a".repeat(8), () => undefined);
    cli.says("PermissionRequest", asks("Read", { file_path: "README.md" }));
    await timers.setTimeout(300);
    cli.screen.rows = REMOVES;
    await timers.setTimeout(3200);

    assert.match(cli.acts[0] ?? "", /another one than the policy has judged/);
    assert.deepEqual(cli.typed.slice(0, 1), [String.raw`"\u001b" into Bash command`]);
  });

  test("a claim never moves a policy towards allow: a dialog that names another tool, or none, than a hook is asked about", async () => {
    const approvals: Approvals = [
      { tool: "Bash", answer: "deny" },
      { tool: "*", answer: "allow" },
    ];
    const unnamed = REMOVES.slice(2);
    const isTyped = async (rows: string[]) => {
      using cli = openClaude(rows, { approvals });
      cli.says("PermissionRequest", asks("Read", { file_path: "rm -rf /workspace" }));
      await timers.setTimeout(600);
      return cli.typed.length > 0;
    };

    assert.equal(await isTyped(dialog("Read file", "Read(rm -rf /workspace)")), true);
    assert.equal(await isTyped(dialog("Fetch", "rm -rf /workspace")), false);
    assert.equal(await isTyped(unnamed), false);
  });

  test("nothing is answered while another program has the terminal", async () => {
    using cli = openClaude(REMOVES, { stranger: "less" });
    cli.says("PermissionRequest", asks("Bash", { command: "rm -rf /workspace" }));
    await cli.interaction.answer(ASKER, 1, { kind: "allow" });

    assert.deepEqual(cli.typed, []);
    assert.match(cli.acts[0] ?? "", /Another program has the terminal \(less\)/);
  });

  for (const rows of [REMOVES, WORKS])
    test(`no prompt is typed where the screen shows ${rows[1]?.trim()}, whatever a hook says`, async () => {
      using cli = openClaude(rows);
      cli.says("Stop");
      const phase = await cli.interaction.prompt(ASKER, "go on");

      assert.deepEqual([phase, cli.typed], ["refused", []]);
      assert.match(cli.acts[0] ?? "", /By its screen the CLI is (?:permission|busy)/);
    });

  test("a turn that the screen shows is broken off, whatever a hook says", async () => {
    using cli = openClaude(WORKS);
    cli.says("Stop");
    const request = "0".repeat(16);
    await cli.interaction.handle({ kind: "interrupt", request, by: "a person" });

    assert.equal(cli.typed.length, 1, cli.acts.join());
  });
});

suite("a person's keys while automation types", () => {
  test("go from window to window and to automation, and each change of hands is told once", async () => {
    const changes: [Hands, Hands | null][] = [];
    const lease = new InputLease({
      clock: machineClock,
      limits: { personMs: 10 },
      onHands: (...change) => changes.push(change),
    });
    const type = (window: string) => lease.person(Buffer.from("x"), window, () => undefined);

    for (const window of ["aa", "aa", "bb", "aa"]) type(window);
    await lease.automation(async () => {
      for (const window of ["aa", "aa", "bb"]) type(window);
      return await Promise.resolve();
    }, new AbortController().signal);

    const at = (window: string): Hands => ({ hands: "person", window });
    const automation: Hands = { hands: "automation" };
    const told = [at("aa"), at("bb"), at("aa"), automation, at("aa"), at("bb")];
    assert.deepEqual(
      changes,
      told.map((hands, index) => [hands, told[index - 1] ?? null]),
    );
  });

  test("wait even when they look like replies; replies do not", async () => {
    const lease = new InputLease({ clock: machineClock, onHands: () => undefined });
    const KEYS = ["\x1b[13u", "\x1b[99;5u", "\x1b[1;2R", "\x1b[R", "x"];
    const REPLIES = [
      "\x1b[?0u",
      "\x1b[?62;22c",
      "\x1b[>0;276;0c",
      "\x1b[24;80R",
      "\x1b[0n",
      "\x1b[I",
    ];
    const delivered: string[] = [];
    const type = (key: string) =>
      lease.person(Buffer.from(key), "0a".repeat(8), (bytes) => delivered.push(bytes.toString()));

    const during = await lease.automation(async () => {
      for (const key of [...KEYS, ...REPLIES]) type(key);
      return await Promise.resolve([...delivered]);
    }, new AbortController().signal);

    assert.deepEqual(during, REPLIES);
    assert.deepEqual(delivered, [...REPLIES, ...KEYS]);
  });
});
