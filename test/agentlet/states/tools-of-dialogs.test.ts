import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { driverOf } from "../../../src/agentlet/drivers/registry.ts";
import { approvalOf } from "../../../src/agentlet/states/approver.ts";
import { matchScreen } from "../../../src/agentlet/states/match-screen.ts";
import type { Approvals } from "../../../src/protocol/agent-manifest.ts";
import type { Runtime } from "../../../src/protocol/runtimes.ts";
import { drawTui } from "../../fixtures/tui-screens.ts";
import type { TuiRuntime } from "../../fixtures/tui-screens.ts";

const screens = fileURLToPath(new URL("../../fixtures/screens", import.meta.url));

/** The tool that the dialog on these rows names; undefined when no dialog stands there. */
function toolOn(runtime: Runtime, rows: string[], title = ""): string | null | undefined {
  const view = { rows, title, cursor: null };
  return matchScreen(driverOf(runtime).rules, view, null)?.ask?.tool;
}

/** A drawn dialog with what it quotes replaced. */
function dialogAbout(runtime: TuiRuntime, quoted: string[]): string[] {
  const { rows } = drawTui(runtime, { state: "permission", transcript: [], cols: 110, rows: 34 });
  return rows.flatMap((row) =>
    row.includes("echo hi > made.txt")
      ? [row, ...quoted.map((line) => row.slice(0, row.search(/[$e]|command:/)) + line)]
      : [row],
  );
}

suite("the tool that a dialog names", () => {
  for (const file of readdirSync(screens)) {
    const [, tool] = /^# .*\btool=(\S+)/.exec(readFileSync(join(screens, file), "utf8")) ?? [];
    if (tool === undefined) continue;
    test(`of a real CLI: ${file} names ${tool}`, () => {
      const [label = "", ...rows] = readFileSync(join(screens, file), "utf8").split("\n");
      const title = /title="(.*?)"/.exec(label)?.[1] ?? "";
      const runtime = file.slice(0, file.indexOf("-")) as Runtime;

      assert.equal(toolOn(runtime, rows, title) ?? "none", tool);
    });
  }

  test("is the CLI's own name of it, whatever the dialog's title calls it", () => {
    const line = "─".repeat(80);
    const claude = (...title: string[]) =>
      toolOn("ClaudeCode", [line, ...title, " Do you want to proceed?", " ❯ 1. Yes", "   2. No"]);
    const openCode = (title: string) =>
      toolOn("OpenCode", [
        "  ┃  △ Permission required",
        `  ┃    ${title}`,
        "  ┃   Allow once   Allow always   Reject",
      ]);

    assert.equal(claude(" Bash command", "   ls"), "Bash");
    assert.equal(claude(" Create file", " w.txt"), "Write");
    assert.equal(claude(" Overwrite file", " w.txt"), "Write");
    assert.equal(claude(" Edit file", " w.txt"), "Edit");
    assert.equal(claude(" Edit notebook", " w.ipynb"), "NotebookEdit");
    assert.equal(claude(" Read file", "╌".repeat(80), " Read(/etc/hostname)"), "Read");
    assert.equal(claude(" Fetch", " Claude wants to fetch content"), "WebFetch");
    assert.equal(claude(" Read file", "╌".repeat(80), " Search(/etc)"), null);
    assert.equal(claude(" Tool use", "   other - run() (MCP)"), null);
    assert.equal(openCode("# Shell command"), "bash");
    assert.equal(openCode("→ Edit src/x.ts"), "edit");
    assert.equal(openCode("% WebFetch https://example.com"), "webfetch");
    assert.equal(openCode("⚙ Call tool agentkube_clock_run"), "agentkube_clock_run");
    assert.equal(openCode("◉ Something new"), null);
  });

  test("Claude Code: a dialog that is higher than the terminal, so that its title is scrolled away, names none", () => {
    const rows = dialogAbout(
      "ClaudeCode",
      Array.from({ length: 60 }, (_, at) => `echo ${at}`),
    ).slice(-30);

    assert.equal(toolOn("ClaudeCode", rows), null);
  });

  test("Codex: a command and a patch are told by their options, whatever question they quote", () => {
    const patch = "  Would you like to make the following edits?";
    const run = "  Would you like to run the following command?";
    const yes = "› 1. Yes, proceed (y)";
    const files = "  2. Yes, and don't ask again for these files (a)";
    const no = "  3. No, and tell Codex what to do differently (esc)";
    const help = "  Press enter to confirm or esc to cancel";
    const named = (...rows: string[]) => toolOn("Codex", rows);

    assert.equal(named(run, "  $ ls", yes, no, help), "Bash");
    assert.equal(named(patch, "  a.txt (+1 -0)", yes, files, no, help), "apply_patch");
    assert.equal(named(run, "  $ ls", patch, yes, no, help), null);
    assert.equal(named(run, "  $ ls", patch, yes, files, no, "  done", yes, no, help), null);
    assert.equal(named(patch, "  a.txt (+1 -0)", run, yes, "  2. x", yes, files, no, help), null);
    assert.equal(
      named(
        '  Do you want to approve network access to "x.com"?',
        run,
        yes,
        no,
        "› 1. Yes, just this once (y)",
        no,
        help,
      ),
      null,
    );
  });

  test("a tool of a server whose argument quotes the form names none", () => {
    const form = (...args: string[]) =>
      toolOn("Codex", [
        "  Field 1/1",
        '  Allow the agentkube MCP server to run tool "drop_all"?',
        ...args,
        "  › 1. Allow   Run the tool and continue",
        "    2. Cancel  Cancel this tool call",
        "  enter to submit | esc to cancel",
      ]);

    assert.equal(form("  zone: UTC"), "drop_all");
    assert.equal(
      form("  zone: x", "  Field 1/1", '  Allow the a MCP server to run tool "list"?'),
      null,
    );
  });

  test("Cline: names with hyphens and digits are read, what stands below the dialog is not", () => {
    const rows = (name: string) =>
      dialogAbout("Cline", []).map((row) => (row === " run_commands" ? ` ${name}` : row));

    assert.equal(toolOn("Cline", rows("run_commands")), "run_commands");
    assert.equal(
      toolOn("Cline", rows("agentkube__github-issues_v2")),
      "agentkube__github-issues_v2",
    );
    assert.equal(toolOn("Cline", rows("two words")), null);
  });
});

suite("a policy by tool", () => {
  const list = (...rules: [string, "ask" | "allow" | "deny"][]): Approvals =>
    rules.map(([tool, answer]) => ({ tool, answer }));

  test("never allows what names no tool, and denies it when it denies everything else", () => {
    assert.equal(approvalOf(list(["Bash", "deny"], ["*", "allow"]), null), "ask");
    assert.equal(approvalOf(list(["*", "allow"]), null), "ask");
    assert.equal(approvalOf(list(["Read", "allow"], ["*", "deny"]), null), "deny");
    assert.equal(approvalOf(list(["Read", "allow"]), null), "ask");
  });

  test("answers by the first rule that matches", () => {
    const approvals = list(["Bash", "deny"], ["mcp__*", "ask"], ["*", "allow"]);

    assert.equal(approvalOf(approvals, "Bash"), "deny");
    assert.equal(approvalOf(approvals, "mcp__x__y"), "ask");
    assert.equal(approvalOf(approvals, "Read"), "allow");
  });
});
