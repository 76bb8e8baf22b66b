import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { CLEAN, Screen } from "../../src/kit/screen.ts";
import { SequenceScanner } from "../../src/kit/sequence-scanner.ts";
import { livelySequences, recordedOutputs, seededRandom } from "../helpers/terminal-output.ts";
import { differences, stateOf } from "../helpers/terminal-state.ts";

const SIZE = { cols: 60, rows: 15 };
const SCROLLBACK = 500;

async function shown(screen: Screen, bytes: Buffer | string): Promise<Screen> {
  await new Promise<void>((resolve) => screen.write(bytes, resolve));
  return screen;
}

function wholeState(screen: Screen): Record<string, unknown> {
  return { ...stateOf(screen.terminal), keyboard: screen.keyboardFlags };
}

suite("the text of a screen", () => {
  test("makes another terminal the same in all that it holds, after anything that a program may have said", async () => {
    for (let seed = 1; seed <= 150; seed++) {
      const sequences = livelySequences(seed, 60, SIZE);
      using screen = await shown(new Screen(SIZE, SCROLLBACK), sequences.join(""));
      using copy = await shown(new Screen(SIZE, SCROLLBACK), CLEAN + screen.text());

      const note = JSON.stringify(sequences);
      assert.equal(copy.text(), screen.text());
      assert.deepEqual(
        differences(wholeState(copy), wholeState(screen)),
        [],
        `seed ${seed}: ${note}`,
      );
    }
  });

  test("says what the emulator itself does not hold: both stacks of keyboard flags, modifyOtherKeys, colours, progress, other modes", async () => {
    const said =
      "\x1b[=1;1u\x1b[>5u\x1b[>7u\x1b[>4;2m\x1b]11;#102030\x07\x1b]4;1;rgb:11/22/33\x07\x1b]9;4;1;40\x07\x1b[?2031;1007h\x1b[?7l\x1b[20h" +
      "\x1b[?1049h\x1b[>3u";
    using screen = await shown(new Screen(SIZE, SCROLLBACK), said);
    using copy = await shown(new Screen(SIZE, SCROLLBACK), CLEAN + screen.text());

    assert.equal(screen.keyboardFlags, 3);
    assert.equal(copy.keyboardFlags, 3);
    await shown(copy, "\x1b[?1049l");
    assert.equal(copy.keyboardFlags, 7);
    await shown(copy, "\x1b[<1u");
    assert.equal(copy.keyboardFlags, 5);
    await shown(copy, "\x1b[<9u");
    assert.equal(copy.keyboardFlags, 0);
    const text = copy.text();
    for (const part of [
      "[>4;2m",
      "]11;#102030",
      "]4;1;rgb:11/22/33",
      "]9;4;1;40",
      "[?2031h",
      "[?1007h",
    ])
      assert.ok(text.includes(`\x1b${part}`), part);
    assert.equal(copy.terminal.modes.wraparoundMode, false);
    assert.equal(copy.terminal.options.convertEol, true);
    await shown(copy, "\x1b]111\x07\x1b]104\x07\x1b]9;4;0\x07\x1bc");
    assert.doesNotMatch(copy.text(), /\]11;|\]4;|\]9;|2031|>4;/);
  });

  test("a link that is open goes on, and cells of a link have it", async () => {
    using screen = await shown(new Screen(SIZE, 0), "\x1b]8;id=a;https://example.test/\x07one");
    using copy = await shown(new Screen(SIZE, 0), `${CLEAN}${screen.text()} two`);
    await shown(screen, " two");

    assert.deepEqual(differences(stateOf(copy.terminal), stateOf(screen.terminal)), []);
    assert.match(JSON.stringify(stateOf(copy.terminal)), /o [^"]*;https:..example.test/);
  });

  test("holds for real recordings, wherever they are cut", async (t) => {
    const recordings = recordedOutputs();
    if (recordings.length === 0) return t.skip("../shared/fixtures/casts is not there");
    for (const { name, cols, rows, bytes } of recordings) {
      const scanner = new SequenceScanner();
      const step = Math.max(97, Math.floor(bytes.length / 40));
      using screen = new Screen({ cols, rows }, SCROLLBACK);
      using whole = await shown(new Screen({ cols, rows }, SCROLLBACK), bytes);
      const expected = wholeState(whole);
      for (let at = 0; at < bytes.length; at += step) {
        const piece = bytes.subarray(at, at + step);
        scanner.push(piece);
        await shown(screen, piece);
        // What a viewer gets: the screen, and all from the last byte outside of a sequence on.
        using copy = await shown(new Screen({ cols, rows }, SCROLLBACK), CLEAN + screen.text());
        await shown(copy, bytes.subarray(scanner.boundary));
        const note = `${name}, cut at ${scanner.boundary}`;
        assert.deepEqual(differences(wholeState(copy), expected), [], note);
      }
    }
  });

  test("and what follows does the same there", async () => {
    for (let seed = 1000; seed < 1150; seed++) {
      const sequences = livelySequences(seed, 80, SIZE);
      const cut = seededRandom(seed)(sequences.length);
      const before = sequences.slice(0, cut).join("");
      const after = sequences.slice(cut).join("");
      using whole = await shown(new Screen(SIZE, SCROLLBACK), before + after);
      using screen = await shown(new Screen(SIZE, SCROLLBACK), before);
      using copy = await shown(new Screen(SIZE, SCROLLBACK), CLEAN + screen.text() + after);

      const note = `seed ${seed}: ${JSON.stringify(before)} | ${JSON.stringify(after)}`;
      assert.deepEqual(differences(wholeState(copy), wholeState(whole)), [], note);
    }
  });
});
