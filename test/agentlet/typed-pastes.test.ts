import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { PASTE_BEGIN, PASTE_END, PasteMarks } from "../../src/agentlet/paste-marks.ts";
import { InputLease } from "../../src/agentlet/states/input-lease.ts";
import { RecordedClock } from "../../src/agentlet/states/clock.ts";
import { PASTE_LIMITS, TypedPastes } from "../../src/agentlet/typed-pastes.ts";

/** People's pastes on their way into a program that may stop reading. */
function aKeyboard() {
  const clock = new RecordedClock();
  const typed: string[] = [];
  const told: string[] = [];
  const program = { reads: true };
  const people = { attached: true };
  const pastes = new TypedPastes({
    clock,
    type: (bytes) => {
      if (program.reads) typed.push(bytes.toString());
      return program.reads;
    },
    hasWriter: () => people.attached,
    onEnded: (message) => told.push(message),
  });
  const person = (text: string) => {
    const bytes = pastes.sent(Buffer.from(text));
    if (bytes.length > 0) pastes.type(bytes);
  };
  const wait = (ms: number) => clock.advanceTo(clock.now() + ms);
  return { pastes, person, wait, program, people, told, text: () => typed.join(""), clock };
}

suite("pastes of people", () => {
  test("are found wherever the stream is cut", () => {
    const text = `a${PASTE_BEGIN}b\x1b[20${PASTE_BEGIN}c${PASTE_END}d\x1b[200${PASTE_BEGIN}${PASTE_END}${PASTE_BEGIN}e`;
    const whole = text.indexOf(PASTE_END) + PASTE_END.length;

    for (let first = 0; first <= text.length; first++)
      for (let second = first; second <= text.length; second++) {
        const marks = new PasteMarks();
        const ends = [0, first, second].map((from, at) => {
          const piece = Buffer.from(text.slice(from, [first, second, text.length][at]));
          const end = marks.push(piece);
          return end === -1 ? -1 : from + end;
        });

        assert.equal(
          ends.find((end) => end !== -1),
          whole,
        );
        assert.equal(marks.isOpen, true);
      }
  });

  test("that are whole are typed as they are, and whatever is typed beside them", () => {
    const keyboard = aKeyboard();
    const text = `x${PASTE_BEGIN}one\ntwo${PASTE_END}\r`;

    for (const key of text) keyboard.person(key);
    keyboard.people.attached = false;
    keyboard.wait(60_000);

    assert.equal(keyboard.text(), text);
    assert.deepEqual(keyboard.told, []);
  });

  test("of which a part finds no room end there: their rest is no keys, and what is typed after them is", () => {
    const keyboard = aKeyboard();
    keyboard.person(`${PASTE_BEGIN}one`);
    keyboard.program.reads = false;
    keyboard.person("two");
    keyboard.program.reads = true;

    keyboard.person("three\rrm -rf\r");
    const meanwhile = keyboard.text();
    keyboard.person(`four${PASTE_END}after`);

    assert.equal(meanwhile, `${PASTE_BEGIN}one`);
    assert.equal(keyboard.text(), `${PASTE_BEGIN}one${PASTE_END}after`);
  });

  test("whose begin finds no room are not typed at all", () => {
    const keyboard = aKeyboard();
    keyboard.program.reads = false;
    keyboard.person(`${PASTE_BEGIN}one\r`);
    keyboard.program.reads = true;

    keyboard.person("two\r");
    keyboard.person(`three\r${PASTE_END}after`);

    assert.equal(keyboard.text(), "after");
  });

  test("whose end finds no room are ended once there is some, before anything else is typed", () => {
    for (const next of ["x", ""]) {
      const keyboard = aKeyboard();
      keyboard.person(`${PASTE_BEGIN}one`);
      keyboard.program.reads = false;
      keyboard.person(`two${PASTE_END}`);
      keyboard.program.reads = true;

      if (next === "") keyboard.wait(PASTE_LIMITS.lookMs);
      else keyboard.person(next);

      assert.equal(keyboard.text(), `${PASTE_BEGIN}one${PASTE_END}${next}`);
      assert.equal(keyboard.pastes.isOpen, false);
    }
  });

  test("of a person who has gone are ended, and it is said; one who only pauses keeps theirs", () => {
    const keyboard = aKeyboard();
    keyboard.person(`${PASTE_BEGIN}one`);
    keyboard.wait(20_000);
    const paused = [keyboard.text(), keyboard.pastes.isOpen];
    keyboard.people.attached = false;
    keyboard.wait(PASTE_LIMITS.leftMs);
    keyboard.person("next");

    assert.deepEqual(paused, [`${PASTE_BEGIN}one`, true]);
    assert.equal(keyboard.text(), `${PASTE_BEGIN}one${PASTE_END}next`);
    assert.deepEqual(keyboard.told, [
      "A person left in the middle of a paste, and it is ended there",
    ]);
  });

  test("that were cut and whose end never comes hold nobody's keys for long", () => {
    const keyboard = aKeyboard();
    keyboard.person(`${PASTE_BEGIN}one`);
    keyboard.program.reads = false;
    keyboard.person("two");
    keyboard.program.reads = true;

    keyboard.wait(PASTE_LIMITS.leftMs + PASTE_LIMITS.lookMs);
    keyboard.person("next");

    assert.equal(keyboard.text(), `${PASTE_BEGIN}one${PASTE_END}next`);
    assert.match(keyboard.told.join(), /cut off where the program stopped reading/);
  });

  test("keep automation waiting while they are open, and it gives up when they stay so", async () => {
    const keyboard = aKeyboard();
    const lease = new InputLease({
      clock: keyboard.clock,
      onHands: () => undefined,
      isPasting: () => keyboard.pastes.isOpen,
    });
    const later = async (ms: number) => {
      for (let at = 0; at < ms; at += 100) {
        keyboard.wait(100);
        await new Promise(setImmediate);
      }
    };
    const { signal } = new AbortController();
    keyboard.person(`${PASTE_BEGIN}one`);

    const first = lease.automation(async () => await Promise.resolve("acted"), signal);
    await later(10_000);
    keyboard.person(PASTE_END);
    await later(200);
    const acted = await first;
    keyboard.person(`${PASTE_BEGIN}two`);
    const second = lease.automation(async () => await Promise.resolve("acted"), signal);
    await later(31_000);

    assert.deepEqual([acted, await second], ["acted", "busy"]);
  });
});
