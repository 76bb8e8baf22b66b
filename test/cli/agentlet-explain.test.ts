import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import { drawTui } from "../fixtures/tui-screens.ts";
import { lastDocument, PreparedData } from "./prepared-data.ts";

const size = { cols: 80, rows: 24 };

/** A recording that draws one screen after the other. */
function castOf(screens: { atMs: number; rows: string[]; title: string }[]): string {
  const header = { version: 2, width: size.cols, height: size.rows };
  const events = screens.map(({ atMs, rows, title }) => [
    atMs / 1000,
    "o",
    `\x1b]0;${title}\x07\x1b[H\x1b[2J${rows.join("\r\n")}`,
  ]);
  return [header, ...events, [9, "o", ""]].map((line) => `${JSON.stringify(line)}\n`).join("");
}

suite("agentkube agentlet explain", () => {
  test("tells the states of a recording, when each began and which rule said so", async () => {
    using data = new PreparedData();
    const file = join(data.root, "x.cast");
    const tui = { transcript: [], ...size };
    writeFileSync(
      file,
      castOf([
        { atMs: 1000, ...drawTui("ClaudeCode", { state: "idle", ...tui }) },
        { atMs: 3000, ...drawTui("ClaudeCode", { state: "busy", ...tui }) },
        { atMs: 5000, ...drawTui("ClaudeCode", { state: "permission", ...tui }) },
      ]),
    );

    const end = await data.run("agentlet", "explain", file, "--runtime", "ClaudeCode", "--json");
    const shown = await data.run("agentlet", "explain", file, "--runtime", "claude");

    assert.deepEqual(lastDocument(end), {
      states: [
        { atMs: 0, state: "starting", channel: "process", rule: "the recording begins" },
        { atMs: 1000, state: "idle", channel: "screen", rule: "composer-shortcuts" },
        { atMs: 3000, state: "busy", channel: "title", rule: "title-spinner" },
        { atMs: 5000, state: "permission", channel: "screen", rule: "permission-dialog" },
      ],
    });
    assert.match(shown.stdout, /5\.000 s +permission +screen +permission-dialog/);
    assert.deepEqual([end.code, shown.code], [0, 0]);
  });

  test("a farewell that the program goes on after was none", async () => {
    using data = new PreparedData();
    const file = join(data.root, "x.cast");
    const tui = { transcript: [], ...size };
    const farewell = {
      rows: ["To continue this session, run codex resume 01a22aa4-3a62-7f02-a3dc-df433f8ec9c4"],
      title: "",
    };
    const told = async (last: "idle" | null) => {
      const after =
        last === null ? [] : [{ atMs: 5000, ...drawTui("Codex", { state: last, ...tui }) }];
      const before = { atMs: 1000, ...drawTui("Codex", { state: "busy", ...tui }) };
      writeFileSync(file, castOf([before, { atMs: 3000, ...farewell }, ...after]));
      const end = await data.run("agentlet", "explain", file, "--runtime", "Codex", "--json");
      const { states } = lastDocument(end) as { states: { atMs: number; state: string }[] };
      return states.slice(1).map(({ atMs, state }) => [atMs, state]);
    };

    assert.deepEqual(await told("idle"), [
      [1000, "busy"],
      [5000, "idle"],
    ]);
    assert.deepEqual(await told(null), [
      [1000, "busy"],
      [3000, "exited"],
    ]);
  });

  test("tells the state of a screen's text, and unknown for what no rule knows", async () => {
    using data = new PreparedData();
    const file = join(data.root, "screen.txt");
    const states: unknown[] = [];
    for (const text of [
      drawTui("Codex", { state: "permission", transcript: [], ...size }).rows.join("\n"),
      "some words that no program of this kind shows",
      '{"questions":[{"question":"Which?"}]} was at the top of this screen',
    ]) {
      writeFileSync(file, text);
      const end = await data.run("agentlet", "explain", file, "--runtime", "Codex", "--json");
      states.push(lastDocument(end));
    }

    const unknown = {
      states: [{ atMs: 0, state: "unknown", channel: "screen", rule: "no rule matches" }],
    };
    assert.deepEqual(states, [
      { states: [{ atMs: 0, state: "permission", channel: "screen", rule: "approval-dialog" }] },
      unknown,
      unknown,
    ]);
  });

  test("names what it expected: a runtime, a file, the word explain", async () => {
    using data = new PreparedData();
    const file = join(data.root, "screen.txt");
    writeFileSync(file, "x");

    const noRuntime = await data.run("agentlet", "explain", file);
    const other = await data.run("agentlet", "explain", file, "--runtime", "Emacs");
    const noFile = await data.run("agentlet", "explain", `${file}.none`, "--runtime", "Codex");
    const word = await data.run("agentlet", "expound", file);

    assert.match(noRuntime.stderr, /Expected --runtime/);
    assert.match(other.stderr, /"Emacs"[^]*ClaudeCode, Codex/);
    assert.match(noFile.stderr, /Cannot read/);
    assert.match(word.stderr, /Expected agentkube agentlet explain FILE/);
    assert.deepEqual([noRuntime.code, other.code, noFile.code, word.code], [2, 2, 2, 2]);
  });

  test("tells a file that is neither a recording nor a screen, and a damaged line by its number", async () => {
    using data = new PreparedData();
    const header = '{"version":3,"term":{"cols":80,"rows":24}}';
    const explained = async (name: string, content: string | Buffer) => {
      const file = join(data.root, name);
      writeFileSync(file, content);
      const end = await data.run("agentlet", "explain", file, "--runtime", "Codex", "--json");
      return { code: end.code, said: `${end.stdout}${end.stderr}` };
    };

    const refused = [
      await explained("v4.cast", '{"version":4,"term":{"cols":80,"rows":24}}\n'),
      await explained("other.json", '{"some": "document"}\n'),
      await explained("wide.cast", '{"version":3,"term":{"cols":80000,"rows":24}}\n'),
      await explained("bytes.bin", Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 1, 2, 0xff])),
      await explained("large.txt", "x".repeat(1024 * 1024 + 1)),
    ];
    const damaged = await explained("bad.cast", `${header}\nnot json\n[0.1,"o","x"]\n`);
    const grown = await explained("grown.cast", `${header}\n[0.1,"r","9999x9999"]\n`);
    const cut = await explained("cut.cast", `${header}\n[0.1,"o","x"]\n[0.2,"o","y`);
    const first = await explained(
      "v1.cast",
      '{"version":1,"width":80,"height":24,"stdout":[[0.1,"x"]]}\n',
    );
    const windows = await explained(
      "crlf.txt",
      drawTui("Codex", { state: "permission", transcript: [], ...size }).rows.join("\r\n"),
    );

    for (const { code, said } of refused)
      assert.match(`${code} ${said}`, /^1 [^]*(?:Cannot read|Expected)/);
    assert.match(damaged.said, /line 2: Expected an event/);
    assert.match(grown.said, /line 2: Expected a terminal of at most 1000x1000, got 9999x9999/);
    assert.deepEqual(
      [damaged.code, grown.code, cut.code, first.code, windows.code],
      [1, 1, 0, 0, 0],
    );
    assert.match(cut.said, /"states":/);
    assert.match(first.said, /"states":/);
    assert.match(windows.said, /"state":"permission"/);
  });
});
