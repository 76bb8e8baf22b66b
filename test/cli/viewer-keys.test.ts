import assert from "node:assert/strict";
import { suite, test } from "node:test";
import * as fc from "fast-check";
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
  return { input: input + keys.flush().toString("latin1"), action: null };
}

/** `text` in pieces that end at `cuts`. */
function pieces(text: string, cuts: number[]): string[] {
  const ends = [...new Set([...cuts.map((cut) => cut % (text.length + 1)), text.length])];
  return ends.toSorted((a, b) => a - b).map((end, at, all) => text.slice(all[at - 1] ?? 0, end));
}

const PREFIXES = [
  "\u001D",
  "\u001B[93;5u",
  "\u001B[93;133u",
  "\u001B[27;5;93~",
  "\u001B[93::93;5:1u",
];
/** Of what a person does: what the terminal sends, and what of it the program gets. */
const typing: fc.Arbitrary<{ sent: string; given: string; asks: string | null }> = fc.oneof(
  fc
    .constantFrom(
      "a",
      "d",
      "k",
      "\r",
      "\u0003",
      "\u001B[A",
      "\u001BOP",
      "\u001Bx",
      "\u001B[97;5u",
      "\u001B[M !!",
      "\u00E4",
    )
    .map((key) => ({ sent: key, given: key, asks: null })),
  fc
    .array(
      fc.constantFrom("x", "\u001D", "d", "k", "q", "\u001B", "[", "2", "0", "1", "\u001D\u006B"),
      { maxLength: 12 },
    )
    .map((text) => `\u001B[200~${text.join("").replaceAll("\u001B[201~", "")}\u001B[201~`)
    .map((paste) => ({ sent: paste, given: paste, asks: null })),
  fc
    .tuple(fc.constantFrom(...PREFIXES), fc.constantFrom("x", "\r", "\u001B[B", "\u001B[120;5u"))
    .map(([prefix, key]) => ({ sent: prefix + key, given: "", asks: null })),
  fc
    .constantFrom(...PREFIXES)
    .map((prefix) => ({ sent: prefix + prefix, given: prefix, asks: null })),
  fc
    .tuple(
      fc.constantFrom(...PREFIXES),
      fc.constantFrom("", "\u001B[93;5:3u", "\u001B[57442;5u", "\u001B[<35;1;1M", "\u001B[I"),
      fc.constantFrom("d", "k", "\u001B[100u", "\u001B[107;129:1u", "\u001B[1076::100u"),
    )
    .map(([prefix, between, letter]) => ({
      sent: prefix + between + letter,
      given: /[<I]|57442/.test(between) ? between : "",
      asks: /k|107;/.test(letter) ? "stop" : "detach",
    })),
);

suite("PrefixKeys", () => {
  test("gives what was typed and does what was asked, however the bytes are cut, and nothing for what is pasted", () => {
    fc.assert(
      fc.property(
        fc.array(typing, { maxLength: 6 }),
        fc.array(fc.nat(200), { maxLength: 8 }),
        (keys, cuts) => {
          const last = keys.findIndex(({ asks }) => asks !== null);
          const upTo = last === -1 ? keys : keys.slice(0, last + 1);
          const text = keys.map(({ sent }) => sent).join("");

          const end = typed(...pieces(text, cuts));

          assert.equal(end.input, upTo.map(({ given }) => given).join(""));
          assert.equal(end.action, last === -1 ? null : keys[last]?.asks);
        },
      ),
      { numRuns: 3000 },
    );
  });

  test("at every cut a paste is a paste, and the keys work after it", () => {
    const paste = "\u001B[200~a\u001Dk\u001D\u001Dd\u001B[201\u001B[201~";
    const text = `x${paste}y\u001Dd`;
    for (let one = 0; one <= text.length; one += 1)
      for (let two = one; two <= text.length; two += 1)
        assert.deepEqual(typed(...pieces(text, [one, two])), {
          input: `x${paste}y`,
          action: "detach",
        });
  });

  test("a program that asked for no marks gets none, and the paste is not searched all the same", () => {
    for (let cut = 0; cut <= 18; cut += 1) {
      const keys = new PrefixKeys();
      const out = pieces("\u001B[200~a\u001Dkb\u001B[201~", [cut]).map((piece) =>
        keys.push(Buffer.from(piece), false),
      );

      assert.equal(out.map(({ input }) => input.toString()).join(""), "a\u001Dkb");
      assert.ok(out.every(({ action }) => action === null));
    }
  });

  test("an Escape that nothing follows is given, is no key for the prefix, and a mark that comes late is one", () => {
    const keys = new PrefixKeys();
    const push = (text: string) => keys.push(Buffer.from(text)).input.toString();

    assert.equal(push("\u001B"), "");
    assert.ok(keys.isWaiting);
    assert.equal(keys.flush().toString(), "\u001B");
    assert.ok(!keys.isWaiting);
    assert.equal(push("[200~\u001Dk"), "[200~\u001Dk");
    assert.equal(push("\u001B[201~"), "\u001B[201~");
    assert.equal(push("\u001D\u001B"), "");
    assert.equal(keys.flush().toString(), "");
    assert.deepEqual(keys.push(Buffer.from("k")), { input: Buffer.from("k"), action: null });
  });

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
