// Real CLIs that nobody is attached to: asked, answered, prompted and interrupted by the verbs, or by the Agent's own policy.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import timers from "node:timers/promises";
import { suite, test } from "node:test";
import type { Runtime } from "../../src/protocol/runtimes.ts";
import { knownRuntimes } from "../../src/protocol/runtimes.ts";
import { LONG_MS, openSession, skipWithout } from "./session.ts";
import type { Session, SessionOptions } from "./session.ts";

/** A tool of the CLI's own that needs permission; what it prints is not in the prompt. */
const ASKS = {
  ClaudeCode: `[[tool Bash {"command":"mkdir /tmp/made && echo made-$((40+2))","description":"make it"}]]`,
  Codex: `[[tool exec_command {"cmd":"mkdir /tmp/made && echo made-$((40+2))","sandbox_permissions":"require_escalated","justification":"it is wanted"}]]`,
  OpenCode: `[[tool bash {"command":"mkdir /tmp/made && echo made-$((40+2))","description":"make it"}]]`,
  Cline: `[[tool run_commands {"commands":["mkdir /tmp/made && echo made-$((40+2))"]}]]`,
  Goose: `[[tool *shell {"command":"mkdir /tmp/made && echo made-$((40+2))"}]]`,
} satisfies Partial<Record<Runtime, string>>;
/** Longer than the 90 s after which an act is given up. */
const ACT_MS = 120_000;
const RUNTIMES = Object.keys(ASKS) as (keyof typeof ASKS)[];
const SLOW = "[[slow 40000]] [[say one two three four five six seven eight nine ten]]";

interface Unattended {
  session: Session;
  cli: (...words: string[]) => Promise<{ code: number | null; text: string }>;
}

async function openUnattended(runtime: keyof typeof ASKS, spec: object): Promise<Unattended> {
  return await openAlone({ runtime, goal: `${ASKS[runtime]} [[say That was all.]]`, spec });
}

async function openAlone(options: SessionOptions): Promise<Unattended> {
  const session = await openSession({ ...options, attached: false });
  const { lab } = session;
  const cli = async (verb = "", ...words: string[]) => {
    const all = [verb, session.run, ...words, "--data", lab.data];
    const { code, text } = await lab.agentkube(all, { timeoutMs: ACT_MS }).ended;
    return { code, text };
  };
  return { session, cli };
}

/**
 * On a busy machine a title may still say busy after a hook has said that the turn is over, and a screen that is not drawn yet may
 * overrule an event and look idle while the turn goes on: what is refused for the state it is in is given again.
 */
async function promptWhenIdle(cli: Unattended["cli"], ...words: string[]) {
  for (const deadline = performance.now() + LONG_MS; ; await timers.setTimeout(1000)) {
    const prompted = await cli("prompt", ...words);
    const isRefused = /takes no prompt|waits for a prompt/.test(prompted.text);
    if (!isRefused || performance.now() > deadline) return prompted;
  }
}

/** A CLI may ask more than once before it is done (OpenCode: for the command, then for the file): allows each until it is idle. */
async function answerTheRest(
  { session, cli }: Unattended,
  since: number,
  answered: number,
): Promise<void> {
  for (let last = answered; ;) {
    const { state, ask } = await session.waitFor(
      (change) => change.state === "idle" || (change.ask?.id ?? 0) > last,
      since,
    );
    if (state === "idle" || ask === undefined || ask === null) return;
    last = ask.id;
    // On a busy machine its dialog may be drawn, or take a key, later than an answer waits for.
    for (let tries = 0; tries < 5; tries++) {
      const { code } = await cli("answer", "allow", "--ask", String(last));
      if (code === 0 || session.acts().at(-1)?.includes("is over") === true) break;
    }
  }
}

for (const runtime of RUNTIMES)
  suite(
    `the real ${runtime}, with nobody attached`,
    { skip: skipWithout(knownRuntimes[runtime].program) },
    () => {
      test("what it asks is shown and answered by agentkube answer, and only the ask that is meant", async () => {
        const { session, cli } = await openUnattended(runtime, {});
        await using _ = session;

        const { ask } = await session.waitFor(({ state }) => state === "permission");
        const asked = (await session.states()).length;
        const shown = await cli("answer");
        const other = await cli("answer", "allow", "--ask", String((ask?.id ?? 0) + 7));
        const answered = await cli("answer", "allow", "--ask", String(ask?.id ?? 0));
        await answerTheRest({ session, cli }, asked, ask?.id ?? 0);

        assert.match(shown.text, /permission.*\n?[^]*made-/);
        assert.deepEqual([other.code, answered.code], [3, 0], `${other.text}${answered.text}`);
        await session.until(() => session.promptsSeen("made-42") >= 1, "the result at the model");

        await session.stop();
        assert.deepEqual(await session.lab.leftovers(), []);
      });

      test("prompts and interruptions by verb arrive, and what is unsafe in them does not", async () => {
        const { session, cli } = await openUnattended(runtime, { approvals: "allow" });
        await using _ = session;
        await session.waitFor(({ state }) => state === "permission");
        const asked = (await session.states()).length;
        await session.waitFor(({ state }) => state === "idle", asked);

        const unsafe = session.lab.write(
          "prompt",
          // Slow enough to be seen at work by the screen alone.
          "Second\0 \x1b[201~\x03\x1b [[slow 4000]] [[say fine and well]]\nand a second line",
        );
        const at = (await session.states()).length;
        const prompted = await promptWhenIdle(cli, "--file", unsafe);
        await session.waitFor(({ state }) => state === "idle", at);
        const huge = await cli(
          "prompt",
          "--file",
          session.lab.write("huge", "x".repeat(5_000_000)),
        );

        assert.match(prompted.text, /done: .*control characters were left out/);
        await session.until(() => session.promptsSeen("and a second line") >= 1, "the prompt");
        assert.ok(
          !session.model.requests.some(({ body }) => body.includes(String.raw`\u001b[201~`)),
        );
        assert.notEqual(huge.code, 0);
        assert.match(huge.text, /at most|256 KiB|262144/);

        const before = (await session.states()).length;
        const slow = await promptWhenIdle(cli, SLOW);
        await session.until(() => session.promptsSeen("one two three") >= 1, "the slow prompt");
        const interrupted = await cli("interrupt");
        await session.waitFor(({ state }) => state === "idle", before);

        assert.deepEqual([slow.code, interrupted.code], [0, 0], `${slow.text}${interrupted.text}`);
        assert.equal((await session.stop()).recording?.verified, true);
        assert.deepEqual(await session.lab.leftovers(), []);
      });

      test("spec.approvals answers it without a person", async () => {
        const { session } = await openUnattended(runtime, { approvals: "allow" });
        await using _ = session;

        await session.waitFor(({ state }) => state === "permission");
        const asked = (await session.states()).length;
        await session.waitFor(({ state }) => state === "idle", asked);

        assert.ok(session.promptsSeen("made-42") >= 1);
        // What became of an answer is told a moment after the state that shows it.
        await session.until(
          () => session.acts().some((act) => act.startsWith("answer spec.approvals done: allow")),
          "the answer",
        );
        await session.stop();
      });

      test("what nobody answers within spec.approvalTimeout is refused, and that is said", async () => {
        const { session } = await openUnattended(runtime, { approvalTimeout: "2s" });
        await using _ = session;

        await session.waitFor(({ state }) => state === "permission");
        const asked = (await session.states()).length;
        await session.waitFor(({ state }) => state === "idle", asked);

        assert.equal(session.promptsSeen("made-42"), 0);
        await session.until(
          () =>
            session.acts().some((act) => act.startsWith("answer spec.approvalTimeout done: deny")),
          "the refusal",
        );
        assert.ok(session.acts().some((act) => act.includes("Nobody answered within 2000 ms")));
        await session.stop();
      });
    },
  );

suite("the real Aider, with nobody attached", { skip: skipWithout("aider") }, () => {
  test("it is prompted, answered and interrupted by verb", async () => {
    const { session, cli } = await openAlone({ runtime: "Aider", goal: "[[say I am here.]]" });
    await using _ = session;
    await session.waitFor(({ state }) => state === "idle");

    const at = (await session.states()).length;
    const made = path.join(session.lab.workspace, "made-by-aider");
    const prompted = await cli("prompt", "[[say made-by-aider⏎```⏎It is made.⏎```]]");
    const { ask } = await session.waitFor(({ state }) => state === "permission", at);
    const asked = (await session.states()).length;
    const shown = await cli("answer");
    const answered = await cli("answer", "allow", "--ask", String(ask?.id ?? 0));
    await session.waitFor(({ state }) => state === "idle", asked);

    assert.deepEqual([prompted.code, answered.code], [0, 0], `${prompted.text}${answered.text}`);
    const seen = (await session.states()).slice(at);
    assert.deepEqual([...new Set(seen.map(({ channel }) => channel))], ["screen"]);
    assert.match(
      seen.map(({ state }) => state).join(" "),
      /^busy (?:\w+ )*permission (?:\w+ )*idle$/,
    );
    assert.match(shown.text, /Create new file\?/);
    assert.equal(readFileSync(made, "utf8"), "It is made.\n");

    const before = (await session.states()).length;
    const slow = await cli("prompt", SLOW);
    await session.until(() => session.promptsSeen("one two three") >= 1, "the slow prompt");
    const interrupted = await cli("interrupt");
    await session.waitFor(({ state }) => state === "idle", before);

    assert.deepEqual([slow.code, interrupted.code], [0, 0], `${slow.text}${interrupted.text}`);
    assert.equal((await session.stop()).recording?.verified, true);
    assert.deepEqual(await session.lab.leftovers(), []);
  });
});
