import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { PrefixKeys } from "../../src/cli/prefix-keys.ts";
import { TerminalModes } from "../../src/cli/terminal-modes.ts";

function typed(...chunks: string[]): { input: string; action: string | null } {
  const keys = new PrefixKeys();
  let input = "";
  for (const chunk of chunks) {
    const result = keys.push(Buffer.from(chunk, "latin1"));
    input += result.input.toString("latin1");
    if (result.action !== null) return { input, action: result.action };
  }
  return { input, action: null };
}

suite("PrefixKeys", () => {
  const table: [title: string, chunks: string[], input: string, action: string | null][] = [
    ["ordinary keys pass", ["ab\u0003\u001B[A\u00FF"], "ab\u0003\u001B[A\u00FF", null],
    ["Ctrl-] d detaches", ["ab\u001Dd"], "ab", "detach"],
    ["Ctrl-] k stops", ["\u001Dk"], "", "stop"],
    ["the two keys may come apart", ["a\u001D", "d"], "a", "detach"],
    ["Ctrl-] twice is one for the program", ["\u001D\u001Dd"], "\u001Dd", null],
    ["another key after it is dropped", ["\u001Dxy"], "y", null],
    ["what comes after an action is dropped", ["\u001Ddrm -rf\r"], "", "detach"],
    ["d and k alone are keys", ["dk"], "dk", null],
    [
      "a paste is not searched",
      ["\u001B[200~a\u001Dk\u001B[201~b"],
      "\u001B[200~a\u001Dk\u001B[201~b",
      null,
    ],
    [
      "a paste in pieces is not searched",
      ["\u001B[200~a\u001D", "k", "\u001B[201~\u001Dd"],
      "\u001B[200~a\u001Dk\u001B[201~",
      "detach",
    ],
    ["the kitty protocol", ["\u001B[93;5u\u001B[100u"], "", "detach"],
    [
      "the kitty protocol with releases",
      ["\u001B[93;5:1u\u001B[93;5:3u\u001B[107;1:1u"],
      "",
      "stop",
    ],
    ["modifyOtherKeys", ["\u001B[27;5;93~k"], "", "stop"],
    ["other keys of these protocols pass", ["\u001B[97;5u"], "\u001B[97;5u", null],
    ["an arrow after the prefix is dropped whole", ["\u001D\u001B[Ax"], "x", null],
    ["a lone escape passes", ["\u001B"], "\u001B", null],
  ];
  for (const [title, chunks, input, action] of table)
    test(title, () => assert.deepEqual(typed(...chunks), { input, action }));

  test("passes every byte that is not the prefix key, however it is cut", () => {
    const bytes = Buffer.from(
      Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => byte !== 0x1d),
    );
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const keys = new PrefixKeys();
      const out = [keys.push(bytes.subarray(0, cut)), keys.push(bytes.subarray(cut))];
      assert.deepEqual(Buffer.concat(out.map((each) => each.input)), bytes);
    }
  });
});

suite("TerminalModes", () => {
  const restored = (...chunks: string[]): string => {
    const modes = new TerminalModes();
    for (const chunk of chunks) modes.push(Buffer.from(chunk, "latin1"));
    return modes.restore();
  };
  const plain = restored();

  test("plain output is followed by plain attributes only", () => {
    assert.equal(restored("hello \u001B[31mred\r\n"), plain);
    assert.doesNotMatch(plain, /\?/);
  });

  const table: [title: string, output: string, undo: string][] = [
    ["the other screen", "\u001B[?1049h", "\u001B[?1049l"],
    ["mouse and paste together", "\u001B[?1000;2004h", "\u001B[?2004l"],
    ["a hidden cursor", "\u001B[?25l", "\u001B[?25h"],
    ["wrapping off", "\u001B[?7l", "\u001B[?7h"],
    ["a scroll region", "\u001B[3;10r", "\u001B[r"],
    ["kitty keys", "\u001B[>1u\u001B[>5u", "\u001B[<2u"],
    ["kitty keys of the lowest level", "\u001B[=1;1u", "\u001B[=0;1u"],
    [
      "kitty keys of both screens, each on its own",
      "\u001B[>1u\u001B[?1049h\u001B[>3u",
      "\u001B[<1u\u001B[?1049l\u001B[<1u",
    ],
    ["origin mode, whose end moves the cursor", "\u001B[?6h", "\u001B[?6l\u001B[9999H"],
    ["colours", "\u001B]11;#123456\u0007", "\u001B]111\u001B\\"],
    ["a palette", "\u001B]4;1;#123456\u0007", "\u001B]104\u001B\\"],
    ["progress in a taskbar", "\u001B]9;4;1;50\u0007", "\u001B]9;4;0\u001B\\"],
    ["a link that is open", "\u001B]8;;https://a.test\u0007", "\u001B]8;;\u001B\\"],
    ["tab stops", "\u001B[3g\u001BH", "\u001B[3g\r\u001B[8C\u001BH\u001B[8C\u001BH"],
    ["modifyOtherKeys", "\u001B[>4;2m", "\u001B[>4;0m"],
    ["a cursor style", "\u001B[5 q", "\u001B[0 q"],
    ["keypad mode", "\u001B=", "\u001B>"],
  ];
  for (const [title, output, undo] of table) {
    test(`undoes ${title}, also when it came in pieces`, () => {
      assert.ok(restored(output).includes(undo));
      for (let cut = 1; cut < output.length; cut += 1)
        assert.ok(
          restored(output.slice(0, cut), output.slice(cut)).includes(undo),
          `cut at ${cut}`,
        );
    });
  }

  test("once restored, there is nothing to restore", () => {
    const modes = new TerminalModes();
    for (const [, output] of table) modes.push(Buffer.from(output));
    modes.restore();

    assert.equal(modes.restore(), plain);
  });

  test("leaves alone what the program undid itself, and what a full reset undid", () => {
    assert.equal(restored("\u001B[?1049h\u001B[?25l", "x\u001B[?25h\u001B[?1049l"), plain);
    assert.equal(restored("\u001B[?1049h\u001B[?25l\u001B[>1u\u001Bc"), plain);
  });
});
