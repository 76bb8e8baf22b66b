import assert from "node:assert/strict";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { cleanPrompt } from "../../../src/agentlet/states/keystrokes.ts";
import { openFakeAgentLab } from "../../helpers/fake-agent-lab.ts";
import type { TuiRuntime } from "../../fixtures/tui-screens.ts";

const RUNTIMES: TuiRuntime[] = ["ClaudeCode", "Codex", "OpenCode", "Cline", "Goose"];

/** What programs of no known kind show at an empty composer. */
const PROMPTS = [
  "λ ",
  "$ ",
  ">>> ",
  "# ",
  "In [1]: ",
  "user@host:~$ ",
  "(venv) > ",
  "❯ ",
  "",
  "12:00 repo git:(main) ✗ ",
];

suite("what is done to a CLI from afar", { concurrency: false }, () => {
  for (const runtime of RUNTIMES)
    test(`${runtime}: a prompt arrives once and is proved, its ask is answered, its turn interrupted, by the screen alone`, async () => {
      await using lab = await openFakeAgentLab({ runtime });
      await lab.isState("idle");

      const prompted = await lab.prompt("busy 300 ask busy 300");
      await lab.isState("permission");
      const { ask } = lab.states.standing;
      const answered = await lab.answer("allow", ask?.id);
      await lab.isState("busy");
      await lab.isState("idle");
      const again = await lab.prompt("busy 20000");
      const interrupted = await lab.interrupt();

      assert.deepEqual(
        [prompted.phase, answered.phase, again.phase, interrupted.phase],
        ["done", "done", "done", "done"],
      );
      const sent = lab.truths
        .filter(({ what }) => what === "submitted")
        .map(({ prompt }) => prompt);
      assert.deepEqual(sent, ["busy 300 ask busy 300", "busy 20000"]);
      assert.match(`${ask?.text} ${ask?.detail}`, /\?|Permission required/);
      assert.match(`${ask?.detail}`, /echo hi/);
      assert.deepEqual(
        lab.statesTold().filter((state) => state !== "unknown"),
        ["idle", "busy", "permission", "busy", "idle", "busy", "idle"],
      );
    });

  for (const runtime of RUNTIMES)
    test(`${runtime}: a prompt of several lines is one prompt, and sent`, async () => {
      await using lab = await openFakeAgentLab({ runtime });
      await lab.isState("idle");

      const prompted = await lab.prompt("busy 300\nis what is wanted");

      assert.equal(prompted.phase, "done");
      assert.deepEqual(
        lab.truths.filter(({ what }) => what === "submitted").map(({ prompt }) => prompt),
        ["busy 300\nis what is wanted"],
      );
    });

  test("an Enter that the CLI swallowed is pressed again, the text never", async () => {
    await using lab = await openFakeAgentLab({
      runtime: "Codex",
      words: ["--swallow-enters", "1"],
    });
    await lab.isState("idle");

    const prompted = await lab.prompt("busy 300");

    assert.equal(prompted.phase, "done");
    const told = lab.truths
      .map(({ what }) => what)
      .filter((what) => /pasted|submitted|swallowed/.test(what));
    assert.deepEqual(told, ["pasted", "enter-swallowed", "submitted"]);
  });

  test("a prompt is confirmed by the hook when there is one, not by the screen", async () => {
    await using lab = await openFakeAgentLab({ runtime: "ClaudeCode", hooks: true });
    await lab.isState("idle");

    const prompted = await lab.prompt("busy 200");

    assert.equal(prompted.message, "confirmed by hook: UserPromptSubmit");
  });

  test("nothing is typed unless the CLI is idle, its composer empty and it has its terminal", async () => {
    await using lab = await openFakeAgentLab({ runtime: "ClaudeCode" });
    await lab.isState("idle");

    await lab.prompt("busy 1500");
    const whileBusy = await lab.prompt("busy 1");
    await lab.isState("idle");
    lab.terminal.type(Buffer.from("half a thou"));
    await timers.setTimeout(500);
    const unsent = await lab.prompt("busy 1");

    assert.deepEqual([whileBusy.phase, unsent.phase], ["refused", "refused"]);
    assert.match(whileBusy.message, /is busy/);
    assert.match(unsent.message, /text that was not sent/);
    assert.equal(lab.truths.filter(({ what }) => what === "submitted").length, 1);
  });

  test("a program whose composer nobody knows takes a prompt, whatever stands before its cursor", async () => {
    const taken = await Promise.all(
      PROMPTS.map(async (prompt) => {
        await using lab = await openFakeAgentLab({
          runtime: "Custom",
          words: [`--prompt=${prompt}`],
        });
        await lab.isState("idle");
        const { phase, message } = await lab.prompt("busy 2000");
        return [prompt, phase, message, lab.truths.flatMap(({ prompt: sent }) => sent ?? [])];
      }),
    );

    assert.deepEqual(
      taken,
      PROMPTS.map((prompt) => [prompt, "done", "confirmed by title: title-working", ["busy 2000"]]),
    );
  });

  test("a program whose composer nobody knows takes no prompt behind what a person left there", async () => {
    await using lab = await openFakeAgentLab({ runtime: "Custom", words: ["--prompt=In [1]: "] });
    const person = (text: string) =>
      lab.interaction.lease.person(Buffer.from(text), "0a".repeat(8), (bytes) =>
        lab.terminal.type(bytes),
      );
    await lab.isState("idle");

    person("busy 900 half a thou");
    const unsent = await lab.prompt("busy 1");
    person("\r");
    await lab.isState("busy");
    await lab.isState("idle");
    const sent = await lab.prompt("busy 300");

    assert.deepEqual([unsent.phase, sent.phase], ["refused", "done"]);
    assert.match(unsent.message, /text that was not sent/);
    assert.deepEqual(
      lab.truths.flatMap(({ prompt }) => prompt ?? []),
      ["busy 900 half a thou", "busy 300"],
    );
  });

  test("a prompt whose Enter a program of no known composer swallowed is not sent together with the next one", async () => {
    await using lab = await openFakeAgentLab({
      runtime: "Custom",
      words: ["--prompt=λ ", "--swallow-enters", "3"],
    });
    await lab.isState("idle");

    const swallowed = await lab.prompt("busy 300");
    const next = await lab.prompt("busy 200");

    assert.deepEqual([swallowed.phase, next.phase], ["unconfirmed", "refused"]);
    assert.match(next.message, /text that was not sent/);
  });

  test("a prompt into a program that the CLI left on its terminal is refused", async () => {
    await using lab = await openFakeAgentLab({ runtime: "ClaudeCode" });
    await lab.isState("idle");
    await lab.prompt("child busy 300");
    await lab.isState("idle");
    await lab
      .until("another program has the terminal", () => lab.terminal.stranger !== null)
      .catch(() => undefined);

    const prompted = await lab.prompt("busy 1");

    assert.equal(prompted.phase, "refused");
    assert.match(prompted.message, /Another program has the terminal \(sleep\)/);
  });

  test("a prompt cannot break out of its paste, nor press keys", async () => {
    const evil = "say\x1b[201~\rrm -rf\r\n\x00\x9b201~\x07 hi\ttab\n\n";

    assert.deepEqual(cleanPrompt(evil), { text: "say[201~\nrm -rf\n201~ hi\ttab", removed: 4 });
    await using lab = await openFakeAgentLab({ runtime: "ClaudeCode", hooks: true });
    await lab.isState("idle");
    const prompted = await lab.prompt(evil);

    assert.equal(prompted.phase, "done");
    assert.match(prompted.message, /4 control characters were left out/);
    assert.deepEqual(
      lab.truths.flatMap(({ prompt }) => prompt ?? []),
      ["say[201~\nrm -rf\n201~ hi\ttab"],
    );
  });

  test("an answer is for the ask that it names, and never for the next one", async () => {
    await using lab = await openFakeAgentLab({ runtime: "Codex" });
    await lab.isState("idle");
    const none = await lab.answer("allow");
    await lab.prompt("ask busy 900 ask busy 200");
    await lab.isState("permission");
    const first = lab.states.standing.ask?.id ?? 0;
    await lab.answer("allow", first);
    await lab.until("the second ask", () => (lab.states.standing.ask?.id ?? 0) > first);

    const stale = await lab.answer("allow", first);
    const unknown = await lab.answer({ option: "9" });
    const denied = await lab.answer("deny");

    assert.deepEqual([none.phase, stale.phase, unknown.phase], ["refused", "refused", "refused"]);
    assert.match(unknown.message, /its options are 1, 2, 3/);
    assert.equal(denied.phase, "done");
    assert.deepEqual(
      lab.truths.flatMap(({ key }) => key ?? []),
      ["y", "\x1b"],
    );
  });

  test("a key that its dialog swallowed is pressed again; the key of an answer that came is not", async () => {
    await using lab = await openFakeAgentLab({ runtime: "Codex", words: ["--swallow-keys", "1"] });
    await lab.isState("idle");
    await lab.prompt("ask busy 2500 ask busy 100");
    await lab.isState("permission");
    const lost = await lab.answer("allow");
    await lab.isState("busy");
    await lab.isState("permission");
    const taken = await lab.answer("allow");
    await lab.isState("idle");

    assert.deepEqual([lost.phase, taken.phase], ["done", "done"]);
    const keys = lab.truths.filter(({ what }) => /answered|key-swallowed/.test(what));
    assert.deepEqual(
      keys.map(({ what }) => what),
      ["key-swallowed", "answered", "answered"],
    );
  });

  test("an answer to an ask of which only the title was there is not typed into the dialog that comes; the next one is", async () => {
    await using lab = await openFakeAgentLab({ runtime: "Codex" });
    await lab.isState("idle");
    lab.states.signal({ channel: "title", state: "permission", evidence: "title-action" });
    const blind = lab.answer("allow");
    await lab.until("the answer is taken", () =>
      lab.events.some(({ event }) => event.type === "act"),
    );
    lab.terminal.type(Buffer.from("\x1b[200~ask busy 300\x1b[201~"));
    await timers.setTimeout(100);
    lab.terminal.type(Buffer.from("\r"));
    const early = await blind;
    await lab.until("the dialog", () => /echo hi/.test(lab.states.standing.ask?.detail ?? ""));
    const seen = await lab.answer("allow");

    assert.deepEqual([early.phase, seen.phase], ["refused", "done"]);
    assert.match(early.message, /is over/);
    assert.deepEqual(
      lab.truths.flatMap(({ key }) => key ?? []),
      ["y"],
    );
  });

  test("a question is answered by the key of one of its options", async () => {
    await using lab = await openFakeAgentLab({ runtime: "ClaudeCode" });
    await lab.isState("idle");
    await lab.prompt("question busy 200");
    await lab.isState("question");
    const { ask } = lab.states.standing;

    const answered = await lab.answer({ option: "2" });

    assert.deepEqual([ask?.text, answered.phase], ["Which colour?", "done"]);
    assert.deepEqual(
      lab.truths.flatMap(({ key }) => key ?? []),
      ["2"],
    );
  });

  test("a policy of the Agent answers by what the screen shows, and an unattended ask is refused in time, and said", async () => {
    await using allowed = await openFakeAgentLab({
      runtime: "ClaudeCode",
      hooks: true,
      approvals: [
        { tool: "Write*", answer: "deny" },
        { tool: "B*h", answer: "allow" },
      ],
    });
    await allowed.isState("idle");
    await allowed.prompt("ask busy 100");
    await allowed.isState("idle");
    await using late = await openFakeAgentLab({ runtime: "ClaudeCode", approvalTimeoutMs: 700 });
    await late.isState("idle");
    await late.prompt("ask busy 100");
    await late.until("the refusal", () => late.truths.some(({ what }) => what === "answered"));

    assert.deepEqual(
      allowed.truths.flatMap(({ key }) => key ?? []),
      ["1"],
    );
    assert.deepEqual(
      late.truths.flatMap(({ key }) => key ?? []),
      ["\x1b"],
    );
    const said = late.events.flatMap(({ event }) =>
      event.type === "notice" ? [event.message] : [],
    );
    assert.match(said.join("\n"), /Nobody answered within 700 ms/);
    const by = late.events.flatMap(({ event }) =>
      event.type === "act" && event.act === "answer" ? [event.by] : [],
    );
    assert.deepEqual([...new Set(by)], ["spec.approvalTimeout"]);
  });

  test("while a person types automation waits, and their keys wait for automation; each change of hands is told", async () => {
    await using lab = await openFakeAgentLab({ runtime: "ClaudeCode" });
    await lab.isState("idle");
    const typedAt = performance.now();
    const person = (text: string) =>
      lab.interaction.lease.person(Buffer.from(text), "0a".repeat(8), (bytes) =>
        lab.terminal.type(bytes),
      );

    person("x");
    person("\x7f");
    lab.terminal.type(Buffer.from("\x15"));
    const prompting = lab.prompt("busy 100");
    const prompted = await prompting;

    assert.ok(performance.now() - typedAt > 2900, "automation waited for the person");
    assert.equal(prompted.phase, "refused", "the fake composer still holds the person's text");
    const hands = lab.events.flatMap(({ event }) => (event.type === "input" ? [event.hands] : []));
    assert.deepEqual(hands, ["person", "automation"]);
  });
});
