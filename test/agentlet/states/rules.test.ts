import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { explain } from "../../../src/agentlet/explain.ts";
import { matchScreen } from "../../../src/agentlet/states/match-screen.ts";
import { driverOf } from "../../../src/agentlet/drivers/registry.ts";
import { isInRange } from "../../../src/agentlet/states/version-range.ts";
import { readAsciicast } from "../../../src/protocol/asciicast.ts";
import type { ScreenView } from "../../../src/agentlet/terminal-state.ts";
import type { Runtime } from "../../../src/protocol/runtimes.ts";
import { drawTui } from "../../fixtures/tui-screens.ts";
import type { TuiRuntime, TuiState } from "../../fixtures/tui-screens.ts";

const fixtures = fileURLToPath(new URL("../../../../shared/fixtures", import.meta.url));
const casts = join(fixtures, "casts");
const skip = existsSync(casts) ? false : "the recorded screens are not here";

const RUNTIMES: TuiRuntime[] = ["ClaudeCode", "Codex", "OpenCode", "Cline", "Goose"];
const STATES: TuiState[] = ["idle", "busy", "permission", "question"];
const sizes = [
  [110, 34],
  [80, 24],
  [200, 60],
] as const;

/** The state a drawn screen is seen as. */
function seen(runtime: Runtime, rows: string[], title: string) {
  const match = matchScreen(driverOf(runtime).rules, { rows, title, cursor: null }, null);
  return match === null ? "unknown" : match.state;
}

suite("screen rules", () => {
  for (const runtime of RUNTIMES)
    test(`${runtime}: a transcript that quotes every other dialog whole changes nothing, at any size, with or without a title`, () => {
      const wrong: string[] = [];
      for (const [cols, rows] of sizes)
        for (const state of STATES)
          for (const decoy of [...STATES, null]) {
            if (runtime === "Goose" && state === "question") continue;
            const quoted =
              decoy === null
                ? []
                : drawTui(runtime, { state: decoy, transcript: [], cols, rows }).rows;
            const transcript = [
              "› do it",
              "• I saw this:",
              ...quoted.filter((row) => row !== ""),
              "• That is all.",
            ];
            const tui = { state, transcript, cols, rows };
            const drawn = drawTui(runtime, tui);
            for (const title of [drawn.title, ""]) {
              // Without a title only the missing end of a turn tells, and the quote has one.
              const got = seen(runtime, drawn.rows, title);
              if (got !== state) wrong.push(`${cols}x${rows} ${state}, quoting ${decoy}: ${got}`);
            }
          }

      assert.deepEqual(wrong, []);
    });

  for (const runtime of RUNTIMES)
    test(`${runtime}: a streaming agent whose last words are its own idle screen or dialog is never idle, and asks nothing above a composer`, () => {
      const wrong: string[] = [];
      for (const [cols, rows] of sizes)
        for (const imitated of ["idle", "permission", "question"] as const) {
          if (runtime === "Goose" && imitated === "question") continue;
          const quoted = drawTui(runtime, { state: imitated, transcript: [], cols, rows }).rows;
          const transcript = quoted.filter((row) => row !== "");
          const { rows: drawn, title } = drawTui(runtime, {
            state: "busy",
            transcript,
            cols,
            rows,
          });
          // Goose has nothing below what streams: there the cursor stands behind it, or on the next row.
          const shown = runtime === "Goose" ? [...transcript, ""] : drawn;
          const row = runtime === "Goose" ? transcript.length : shown.length - 4;
          for (const cursor of [
            { row, col: 0 },
            { row: row - 1, col: (shown[row - 1] ?? "").length },
          ]) {
            // Goose reads no line and hides no cursor while it prints; a text does not tell.
            const modes =
              runtime === "Goose" ? [{}, { takesPaste: false, cursorHidden: false }] : [{}];
            for (const known of modes) {
              const view = { rows: shown, title, cursor, ...known };
              const match = matchScreen(driverOf(runtime).rules, view, null);
              const got = match?.state ?? "unknown";
              const isRight =
                runtime === "Goose" && !("takesPaste" in known) ? got !== "idle" : got === "busy";
              if (!isRight)
                wrong.push(`${cols}x${rows} ${imitated}: ${got} by ${match?.rule.name}`);
            }
          }
        }

      assert.deepEqual(wrong, []);
    });

  test("what a person types and has not sent is no dialog and no spinner", () => {
    const typed = "Do you want to proceed? 1. Yes (esc to interrupt) [y] Approve [n] Deny";
    const seenStates = RUNTIMES.filter((runtime) => runtime !== "Goose").map((runtime) => {
      const { rows, title } = drawTui(runtime, {
        state: "idle",
        transcript: [],
        typed,
        cols: 110,
        rows: 34,
      });
      return seen(runtime, rows, title);
    });

    assert.deepEqual(seenStates, ["idle", "idle", "idle", "idle"]);
  });

  test("Goose: what is typed at its prompt is idle when the terminal says that it reads a line, and only then", () => {
    const rows = ["  ╌╌╌╌ 0% 0/128k", "🪿 Do you allow? call the above tool"];
    const state = (modes: Partial<ScreenView>) =>
      matchScreen(
        driverOf("Goose").rules,
        { rows, title: "🪿 proj", cursor: { row: 1, col: 35 }, ...modes },
        null,
      )?.state;

    assert.equal(state({ takesPaste: true, cursorHidden: false }), "idle");
    assert.equal(state({ takesPaste: false, cursorHidden: false }), "busy");
    assert.equal(state({}), undefined);
  });

  test("Goose: words that follow its greeting are work, the greeting alone is not", () => {
    const state = (...rows: string[]) => {
      const modes = { takesPaste: false, cursorHidden: false };
      const view = { rows, title: "🪿 proj", cursor: { row: rows.length, col: 0 }, ...modes };
      return matchScreen(driverOf("Goose").rules, view, null)?.state;
    };

    assert.equal(state("     L L     goose is ready", "hello"), "busy");
    assert.equal(state("     L L     goose is ready"), undefined);
    assert.equal(state("     L L     goose is ready", "  ╌╌╌╌ 0% 0/128k"), undefined);
  });

  for (const [what, last] of [
    ["prompt", "> "],
    ["question", "Run shell command? (Y)es/(N)o/(D)on't ask again [Yes]: "],
  ] as const)
    test(`Aider: a ${what} that the model prints is its own only while the terminal reads a line`, () => {
      const rows = ["──────────────", "> do it", "It asks as follows:", last];
      const cursor = { row: 3, col: last.length };
      const state = (takesPaste: boolean) =>
        matchScreen(driverOf("Aider").rules, { rows, title: "", cursor, takesPaste }, null)?.state;

      assert.equal(state(false), "busy");
      assert.equal(state(true), what === "prompt" ? "idle" : "permission");
    });

  test("a screen with none of its layout is unknown, whatever its words are", () => {
    const rows = [
      "Ready. Waiting for input. Idle.",
      "> ? for shortcuts",
      "esc to interrupt",
      "the end",
    ];

    for (const runtime of RUNTIMES) assert.notEqual(seen(runtime, rows, ""), "idle");
  });

  test("an ask is read with its question, its options and what it is about", () => {
    const { rows, title } = drawTui("ClaudeCode", {
      state: "permission",
      transcript: [],
      cols: 110,
      rows: 34,
    });

    const match = matchScreen(driverOf("ClaudeCode").rules, { rows, title, cursor: null }, null);

    assert.equal(match?.ask?.text, "Do you want to proceed?");
    assert.equal(match.ask.tool, "Bash");
    assert.match(match.ask.detail, /echo hi > made.txt/);
    assert.deepEqual(
      match.ask.options.map(({ key }) => key),
      ["1", "2", "3"],
    );
  });

  test("a rule holds only for the versions it was seen with", () => {
    assert.equal(isInRange("2.1.329", "<2.1"), false);
    assert.equal(isInRange("2.0.9", "<2.1"), true);
    assert.equal(isInRange("1.18.33", ">=1.14 <1.19"), true);
    assert.equal(isInRange(null, "<2.1"), true);
    assert.throws(() => isInRange("1", "new"), TypeError);
  });

  for (const runtime of RUNTIMES)
    test(`${runtime}: a version newer than any that was seen is read by the rules of the newest`, () => {
      for (const state of STATES) {
        if (runtime === "Goose" && state === "question") continue;
        const tui = { state, transcript: ["› do it"], cols: 80, rows: 24 };
        const { rows, title } = drawTui(runtime, tui);
        const view = { rows, title, cursor: null };
        assert.equal(matchScreen(driverOf(runtime).rules, view, "999.0.0")?.state, state);
      }
    });

  test("no screen can hold a pattern up: a screen of 1,000 rows is judged in a few milliseconds", () => {
    const rows = Array.from({ length: 1000 }, (_, at) =>
      at % 2 === 0 ? "❯ 1. Yes" : "─".repeat(1000),
    );
    const startedAt = performance.now();

    for (const runtime of RUNTIMES) seen(runtime, rows, "✳ Claude Code");

    assert.ok(performance.now() - startedAt < 500);
  });
});

/** Screens and recordings of real CLIs, made for these tests: `RUNTIME-VERSION-WHAT`. The first line, or each marker, says what state it was. */
const ours = fileURLToPath(new URL("../../fixtures/screens", import.meta.url));

suite("screens of real CLIs that a rule once missed, or that a transcript imitates", () => {
  const runtimeOf = (file: string) => file.slice(0, file.indexOf("-")) as Runtime;
  const files = readdirSync(ours);

  for (const file of files.filter((name) => name.endsWith(".txt")))
    test(file, async () => {
      const label = /^# state: (\w+)/.exec(readFileSync(join(ours, file), "utf8"))?.[1];

      const [got] = (await explain(join(ours, file), driverOf(runtimeOf(file)).rules)).states;

      assert.equal(got?.state, label, `by ${got?.rule}`);
    });

  for (const file of files.filter((name) => name.endsWith(".cast")))
    test(file, async () => {
      const marks = await marksOf(join(ours, file));

      const { states } = await explain(join(ours, file), driverOf(runtimeOf(file)).rules);

      assert.ok(marks.length > 0);
      const told = marks.map(({ atMs }) => states.findLast((each) => each.atMs <= atMs)?.state);
      assert.deepEqual(
        told,
        marks.map(({ label }) => label),
        JSON.stringify(states),
      );
    });
});

/** The markers of a recording: when, and the first word. */
async function marksOf(path: string): Promise<{ atMs: number; label: string }[]> {
  const marks: { atMs: number; label: string }[] = [];
  for await (const item of readAsciicast(path))
    if (item.kind === "event" && item.event.code === "m")
      marks.push({
        atMs: item.event.timeUs / 1000,
        label: item.event.data.split(" ")[0] ?? "",
      });
  return marks;
}

/** Recordings whose label names the whole recording: they end at a composer that is ready, with nothing in front of it. */
const READY_THOUGH_STARTING =
  /^(?:claude-start-D_onb_token_trust|codex-start-B_provider|codex-start-C_provider_trust)\b/;

suite("recorded screens", { skip }, () => {
  const runtimeOf = (file: string): Runtime =>
    file.startsWith("claude")
      ? "ClaudeCode"
      : file.startsWith("codex")
        ? "Codex"
        : file.startsWith("cline")
          ? "Cline"
          : file.startsWith("goose")
            ? "Goose"
            : file.startsWith("cursor")
              ? "Cursor"
              : "OpenCode";

  test("every labelled screen is told as its label", async () => {
    const wrong: string[] = [];
    for (const file of readdirSync(casts).filter((name) => name.endsWith(".screen.txt"))) {
      const label = /^# state: (\w+)/.exec(readFileSync(join(casts, file), "utf8"))?.[1] ?? "";
      const [got] = (await explain(join(casts, file), driverOf(runtimeOf(file)).rules)).states;
      const wanted = READY_THOUGH_STARTING.test(file) ? "idle" : label;
      if (got?.state !== wanted)
        wrong.push(`${file}: ${wanted}, seen as ${got?.state} by ${got?.rule}`);
    }

    assert.deepEqual(wrong, []);
  });

  test("at every mark of the recordings the state is the marked one", async () => {
    const index = JSON.parse(readFileSync(join(casts, "INDEX.json"), "utf8")) as {
      cast: string;
      marks: string[];
    }[];
    const wrong: string[] = [];
    for (const { cast, marks } of index) {
      const { states } = await explain(join(casts, cast), driverOf(runtimeOf(cast)).rules);
      for (const mark of marks) {
        const [, at = "", label = ""] = /^([\d.]+) (\w+)/.exec(mark) ?? [];
        const got = states.findLast(({ atMs }) => atMs <= Number(at) * 1000);
        const wanted = READY_THOUGH_STARTING.test(cast) ? "idle" : label;
        if (got?.state !== wanted)
          wrong.push(`${cast} ${mark}: seen as ${got?.state} by ${got?.rule}`);
      }
    }

    assert.deepEqual(wrong, []);
  });

  test("screens of other projects are told right, and what cannot be told is never idle", async () => {
    const wanted: Record<string, string> = {
      "screens/cao/codex_approval_edits_raw.txt": "permission",
      "screens/cao/codex_approval_modal.txt": "permission",
      "screens/cao/codex_approval_modal_heavy_box.txt": "permission",
      "screens/cao/codex_approval_modal_raw.txt": "permission",
      "screens/cao/codex_approval_modal_scrollback.txt": "idle",
      "screens/cao/codex_error_output.txt": "unknown",
      "screens/cao/codex_processing_output.txt": "busy",
      "screens/cao/codex_update_dialog.txt": "starting",
      "screens/cao/cursor_cli_processing_output.txt": "busy",
      "screens/cao/cursor_cli_v2026_idle_output.txt": "idle",
      "screens/cao/cursor_cli_v2026_processing_output.txt": "busy",
      "screens/cao/opencode_cli_completed.ansi.txt": "idle",
      "screens/cao/opencode_cli_idle_splash.txt": "idle",
      "screens/cao/opencode_cli_permission.ansi.txt": "permission",
      "screens/cao/opencode_cli_processing.txt": "busy",
    };
    const wrong: string[] = [];
    for (const [file, state] of Object.entries(wanted)) {
      const [got] = (await explain(join(fixtures, file), driverOf(runtimeOf(file.slice(12))).rules))
        .states;
      if (got?.state !== state)
        wrong.push(`${file}: ${state}, seen as ${got?.state} by ${got?.rule}`);
    }
    const agents = {
      aider: "Aider",
      claude: "ClaudeCode",
      codex: "Codex",
      cursor: "Cursor",
      goose: "Goose",
    } as const;
    const initial = join(fixtures, "agentapi/lib/msgfmt/testdata/initialization");
    for (const [agent, runtime] of Object.entries(agents))
      for (const verdict of ["ready", "not_ready"])
        for (const file of readdirSync(join(initial, agent, verdict))) {
          const [got] = (
            await explain(join(initial, agent, verdict, file), driverOf(runtime).rules)
          ).states;
          if ((got?.state === "idle") !== (verdict === "ready"))
            wrong.push(`${agent}/${verdict}/${file}: seen as ${got?.state} by ${got?.rule}`);
        }

    assert.deepEqual(wrong, []);
  });
});
