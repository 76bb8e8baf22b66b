import assert from "node:assert/strict";
import { suite, test } from "node:test";
import * as fc from "fast-check";
import headless from "@xterm/headless";
import { QueryFilter } from "../../src/agentlet/query-filter.ts";
import { answerQueries } from "../../src/agentlet/terminal-queries.ts";

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
  `\x1b[${"0".repeat(300)}6n`,
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
  "\x1bPq#0;2;0;0;0~-\x1b\\",
  "\x1b(0lqk\x1b(B\x1b=\x1b>\x1b7\x1b8\x1bM\x1bc",
];

function filtered(bytes: Buffer, cuts: number[]): Buffer {
  const filter = new QueryFilter();
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

suite("QueryFilter", () => {
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
});
