import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import * as fc from "fast-check";
import headless from "@xterm/headless";
import { answerQueries } from "../../src/agentlet/terminal-queries.ts";
import { ViewerFilter } from "../../src/kit/viewer-filter.ts";
import { TerminalModes } from "../../src/cli/terminal-modes.ts";
import { CLEAN, Screen } from "../../src/kit/screen.ts";
import { livelySequences } from "../helpers/terminal-output.ts";
import { OddTerminal, type Oddities } from "../helpers/odd-terminal.ts";

const casts = fileURLToPath(new URL("../../../shared/fixtures/casts", import.meta.url));

/** What makes one terminal or another say something to the program. */
const QUERIES = [
  "\x1b[c",
  "\x1b[0c",
  "\x1b[>c",
  "\x1b[=c",
  "\x1bZ",
  "\x1b[5n",
  "\x1b[6n",
  "\x1b[?6n",
  "\x1b[?996n",
  "\x1b[?u",
  "\x1b[>q",
  "\x1b[>0q",
  "\x1b[14t",
  "\x1b[14;2t",
  "\x1b[16t",
  "\x1b[18t",
  "\x1b[21t",
  "\x1b[?2026$p",
  "\x1b[4$p",
  "\x1b[x",
  "\x1b[?1;1;0S",
  "\x1b[?4m",
  "\x1b[1$w",
  "\x1b[1;1;1;1;2;2*y",
  "\x1b]10;?\x07",
  "\x1b]11;?\x1b\\",
  "\x1b]12;?\x07",
  "\x1b]10;?;?\x1b\\",
  "\x1b]4;1;?\x07",
  "\x1b]4;1;#ff0000;2;?\x07",
  "\x1b]52;c;?\x07",
  "\x1b]52;c;cm0gLXJmIH4=\x07",
  "\x1b]1337;ReportCellSize\x07",
  "\x1b]11;?\u009C",
  "\x1bP$qm\x1b\\",
  "\x1bP+q544e\x1b\\",
  "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\",
  "\x05",
  "\u009Bc",
  "\u009A",
  "\u009D11;?\x07",
  "\u0090$qm\u009C",
  "\u009FGi=31,a=q;AAAA\u009C",
  `\x1b[${"0".repeat(300)}6n`,
  "\x1b[1$u",
  "\x1b[1+p",
  "\x1b[18$t",
  "\x1b[>6n",
  "\x1b[5i",
  "\x1b[?1000;2048h",
  "\x1b[1&x",
  "\x1b]21;foreground=?\x07",
  "\x1b]110;?\x07",
  "\x1b]7501;?\x07",
  "\x1b]99;i=1:p=?;\x1b\\",
  "\x1b]9;7;sh\x07",
  "\x1b]9; 7;sh\x07",
  "\x1bP@kitty-cmd{}\x1b\\",
  "\x1bPtmux;\x1b\x1b]52;c;aGFja2Vk\x07\x1b\\",
  // Terminals read over controls, DEL and leading zeros, and over bits beyond 32.
  "\x1b[\x7fc",
  "\x1b\x7f[c",
  "\x1b[\x01c",
  "\x1b\x7fZ",
  "\x1b]5\x012;c;aGFja2Vk\x07",
  "\x1b]00000000000000000052;c;?\x07",
  "\x1b]4294967348;c;aGFja2Vk\x07",
  "\x1b]10;\x01?\x07",
  "\x1b]10\x7f;\x7f?\x07",
  "\x1bP$\x01qm\x1b\\",
  "\x1bP\x07$qm\x1b\\",
];

/** What a viewer needs as it is. */
const SHOWN = [
  "plain text, 日本語 😀 é ÂÃ\r\n",
  "\x1b[1;38;2;1;2;3;48;5;17mcolour\x1b[0m",
  "\x1b[?1049h\x1b[?2004h\x1b[?25l\x1b[?1000;1006h",
  "\x1b[>1u\x1b[<u\x1b[=1;1u\x1b[u\x1b[s",
  "\x1b[2 q\x1b[!p\x1b[4h\x1b[8;24;80t\x1b[22;0;0t\x1b[23;0t",
  "\x1b[3S\x1b[2T\x1b[2;9r\x1b[5;6H\x1b[K\x1b[2J\x1b[>4;1m",
  "\x1b]0;what is this? 11;?\x07",
  "\x1b]2;title\x1b\\",
  "\x1b]8;;https://example.com/?a=1;?\x1b\\link\x1b]8;;\x1b\\",
  "\x1b]4;1;#ff0000\x07\x1b]11;#000000\x1b\\\x1b]104\x07",
  "\x1b]9;4;3;\x07\x1b]133;A\x07",
  "\x1b(0lqk\x1b(B\x1b=\x1b>\x1b7\x1b8\x1bM\x1bc",
];

function filtered(bytes: Buffer, cuts: number[]): Buffer {
  const filter = new ViewerFilter();
  const out: Buffer[] = [];
  const ends = [...new Set(cuts.filter((cut) => cut < bytes.length)), bytes.length];
  let from = 0;
  for (const end of ends.sort((a, b) => a - b)) {
    const piece = Buffer.from(bytes.subarray(from, end));
    filter.push(piece);
    out.push(piece);
    from = end;
  }
  return Buffer.concat(out);
}

/** Controls, DEL, zeros, and what ends a sequence in some terminals only. */
const SALT =
  "\x00 \x01 \x05 \x07 \x18 \x19 \x1a \x1b \x7f 0 ; ? $ o \\ [ ] \x80 \x90 \x9a \x9b \x9c \x9d \xc2 \xc2\x9b \xc2\x9c \xe2 \xc3\xa9".split(
    " ",
  );
/** What hides behind another sequence, or ends one that was left open. */
const REST = [
  "c",
  "n",
  "6n",
  "2;c;aGFja2Vk\x07",
  ";c;aGFja2Vk\x07",
  ";?\x07",
  "\x1b]",
  "\x1b]5",
  "\x1b]10;",
  "\x1b[1",
  "\x1b[",
];

/** Mixes of queries and what is shown, with odd bytes in between. */
const salted = fc
  .array(
    fc
      .tuple(
        fc.constantFrom(...QUERIES.map(inLatin1), ...SHOWN.map(inLatin1), ...REST),
        fc.array(fc.tuple(fc.nat(20), fc.constantFrom(...SALT)), { maxLength: 3 }),
      )
      .map(([word, grains]) =>
        grains.reduce((text, [at, salt]) => text.slice(0, at) + salt + text.slice(at), word),
      ),
    { minLength: 1, maxLength: 4 },
  )
  .map((words) => Buffer.from(words.join(""), "latin1"));

const oddities: fc.Arbitrary<Oddities> = fc.record({
  textKeepsAll: fc.boolean(),
  csiGoesOn: fc.boolean(),
  numberGoesOn: fc.boolean(),
  takesLatin1: fc.boolean(),
  takesC1: fc.boolean(),
});

/** Bytes as characters, so that odd ones can be put in anywhere. */
function inLatin1(text: string): string {
  return Buffer.from(text).toString("latin1");
}

/** A viewer that answers all it is asked, as a person's terminal does: its screen and what it said. */
async function viewerOf(bytes: Buffer): Promise<{ row: string; said: string[] }> {
  const terminal = new headless.Terminal({
    cols: 200,
    rows: 5,
    allowProposedApi: true,
    logLevel: "off",
    windowOptions: { getWinSizeChars: true, getWinSizePixels: true, getCellSizePixels: true },
  });
  const said: string[] = [];
  terminal.onData((text) => said.push(text));
  answerQueries(terminal, (text) => said.push(text));
  await new Promise<void>((resolve) => terminal.write(bytes, resolve));
  const row = terminal.buffer.active.getLine(0)?.translateToString(true) ?? "";
  terminal.dispose();
  return { row, said };
}

suite("ViewerFilter", () => {
  test("hides every query from a viewer's terminal, wherever the bytes are cut, and leaves the text around it", async () => {
    for (const query of QUERIES) {
      const bytes = Buffer.from(`before${query}after`);
      for (let cut = 0; cut <= bytes.length; cut += bytes.length > 100 ? 37 : 1) {
        const shown = filtered(bytes, [cut]);
        const { row, said } = await viewerOf(shown);

        assert.deepEqual(said, [], `${JSON.stringify(query)} cut at ${cut}`);
        assert.equal(row, "beforeafter", `${JSON.stringify(query)} cut at ${cut}`);
        assert.equal(shown.length, bytes.length);
      }
    }
  });

  test("changes nothing else, wherever the bytes are cut", () => {
    const all = Buffer.from(SHOWN.join(""));
    for (let cut = 0; cut <= all.length; cut++)
      assert.equal(filtered(all, [cut]).toString("latin1"), all.toString("latin1"));
  });

  test("gives the same bytes for any cuts of any mix, and no mix gets an answer out of a viewer", async () => {
    const word = fc.constantFrom(...QUERIES, ...SHOWN, "\x1b", "\x1b[", "\x1b]1", "?", ";", "\x18");
    await fc.assert(
      fc.asyncProperty(
        fc.array(word, { maxLength: 12 }),
        fc.array(fc.nat(200), { maxLength: 6 }),
        async (words, cuts) => {
          const bytes = Buffer.from(words.join(""));
          const whole = filtered(bytes, []);
          assert.deepEqual(filtered(bytes, cuts), whole);
          assert.deepEqual((await viewerOf(whole)).said, []);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("lets no terminal act, whatever it makes of odd bytes, and a second filter finds nothing left", () => {
    let acted = 0;
    fc.assert(
      fc.property(salted, fc.array(fc.nat(80), { maxLength: 4 }), oddities, (bytes, cuts, odd) => {
        const shown = filtered(bytes, cuts);

        assert.deepEqual(
          new OddTerminal(odd).show(shown),
          [],
          JSON.stringify(shown.toString("latin1")),
        );
        assert.deepEqual(filtered(shown, []), shown);
        if (new OddTerminal(odd).show(bytes).length > 0) acted += 1;
      }),
      { numRuns: 20_000, interruptAfterTimeLimit: 4000 },
    );
    assert.ok(acted > 100, `only ${acted} mixes would have acted without the filter`);
  });

  test("leaves nothing open for long, so that one that begins in the middle is soon in step", () => {
    for (const open of ["\x1b[", "\x1b]0;"]) {
      const shown = filtered(Buffer.from(open + "1".repeat(10_000)), []);

      assert.match(shown.toString("latin1"), /^\u001B(?:\[1+o|\]0;1+\u0007)\0+$/);
    }
  });

  test("changes nothing of a snapshot, nor of what brings a terminal back", async () => {
    const size = { cols: 60, rows: 15 };
    for (let seed = 1; seed <= 60; seed++) {
      const bytes = Buffer.from(livelySequences(seed, 60, size).join(""));
      const modes = new TerminalModes();
      modes.push(bytes);
      using screen = new Screen(size, 100);
      await new Promise<void>((resolve) => screen.write(bytes, resolve));

      const sent = `\u001B\\${modes.restore()}${CLEAN}${screen.text()}`;

      assert.equal(filtered(Buffer.from(sent), []).toString(), sent, `seed ${seed}`);
    }
  });

  test(
    "changes nothing of the screens of real CLIs",
    { skip: existsSync(casts) ? false : `no recordings at ${casts}` },
    async () => {
      let compared = 0;
      for (const name of readdirSync(casts).filter((each) => each.endsWith(".cast"))) {
        const lines = readFileSync(join(casts, name), "utf8").trimEnd().split("\n").slice(1);
        const events = lines.map((line) => JSON.parse(line) as [number, string, string]);
        const bytes = Buffer.from(
          events.flatMap(([, code, data]) => (code === "o" ? [data] : [])).join(""),
        );

        assert.deepEqual(await screenOf(filtered(bytes, [])), await screenOf(bytes), name);
        compared += 1;
      }
      assert.ok(compared > 10);
    },
  );
});

async function screenOf(bytes: Buffer): Promise<string> {
  using screen = new Screen({ cols: 120, rows: 40 }, 1000);
  await new Promise<void>((resolve) => screen.write(bytes, resolve));
  return screen.text();
}
