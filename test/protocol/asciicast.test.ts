import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  MAX_LINE_BYTES,
  rawBytesOf,
  readAsciicast,
  stripComments,
  toV2,
} from "../../src/protocol/asciicast.ts";
import type { CastLine, CastSource } from "../../src/protocol/asciicast.ts";
import { verifyAsciicast } from "../../src/protocol/asciicast-verify.ts";
import { BatchBuffer } from "../../src/kit/batch-buffer.ts";
import { AsciicastWriter } from "../../src/protocol/asciicast-writer.ts";

const fixtures = fileURLToPath(new URL("../../../shared/fixtures/asciicast", import.meta.url));
const facts = {
  cols: 80,
  rows: 24,
  timestamp: 1_700_000_000,
  title: "triage",
  term: "xterm-256color",
};

suite("AsciicastWriter", () => {
  test("keeps UTF-8 whole, wherever it is split", async () => {
    const text = 'aé│日本🚀\u{10ffff}\ufffd\u2028"\\\u0000\u001b\u007f\r\n\tz';
    const bytes = Buffer.from(text);

    for (let at = 0; at <= bytes.length; at += 1) {
      const file = fileOf((writer) => {
        writer.output(bytes.subarray(0, at), 1000);
        writer.output(bytes.subarray(at), 2000);
        writer.flush(3000);
      });

      assert.equal(file.includes("#raw"), false, `split at ${at}`);
      assert.equal((await textOf(file)).join(""), text, `split at ${at}`);
    }
  });

  test("keeps UTF-8 whole when every byte comes alone", async () => {
    const text = "│日🚀é";

    const file = fileOf((writer) => {
      for (const byte of Buffer.from(text)) writer.output(Buffer.from([byte]), 0);
    });

    assert.deepEqual(await textOf(file), Array.from(text));
  });

  test("gives back every byte of random binary and text, and all of it verifies", async () => {
    for (let round = 0; round < 40; round += 1) {
      const pieces = Array.from({ length: 12 }, (_, index) => somePiece(round * 12 + index));
      const file = fileOf((writer) => {
        for (const [index, piece] of pieces.entries()) {
          writer.output(piece, index * 1234);
          writer.position({ seq: index, fact: 0, masked: 0, end: false });
        }
        writer.flush(20_000);
        writer.exit(0, 20_001);
        writer.position({ seq: 99, fact: 99, masked: 0, end: true });
      });

      assert.deepEqual(await rawOf(file), Buffer.concat(pieces));
      assert.deepEqual((await verifyAsciicast(chunksOf(file))).problems, []);
    }
  });

  test("keeps input byte by byte too", async () => {
    const file = fileOf((writer) => {
      writer.input(Buffer.from([0xe2, 0x94]), 0);
      writer.input(Buffer.from([0x82]), 0);
      writer.position({ seq: 2, fact: 0, masked: 0, end: false });
    });

    const raw = (await linesOf(file)).flatMap((item) =>
      item.kind === "event" ? [item.event.raw] : [],
    );

    assert.deepEqual(raw, [Buffer.from([0xe2, 0x94]), Buffer.from([0x82])]);
    assert.equal((await verifyAsciicast(chunksOf(file))).ok, true);
  });

  test("does not let rounding add up, and takes a clock that goes back for one that stands", async () => {
    const file = fileOf((writer) => {
      for (let index = 1; index <= 1000; index += 1) writer.output(Buffer.from("x"), index * 1400);
      writer.output(Buffer.from("y"), 5);
    });

    const events = (await linesOf(file)).flatMap((item) =>
      item.kind === "event" ? [item.event] : [],
    );

    assert.equal(events.at(-1)?.timeUs, 1_400_000);
    assert.match(file.toString(), /\[0\.000, "o", "y"\]/);
  });

  test("goes on in an existing file as if it had never stopped", () => {
    const whole = new BatchBuffer();
    const first = new AsciicastWriter(whole);
    first.output(Buffer.from("a"), 1600);
    first.marker("m", 2_700);
    const lines = new BatchBuffer();
    const again = new AsciicastWriter(lines);
    again.output(Buffer.from("a"), 1600);

    new AsciicastWriter(lines, again.written).marker("m", 2_700);

    assert.deepEqual(lines.bytes, whole.bytes);
  });
});

suite("verifyAsciicast", () => {
  const good = fileOf((writer) => {
    writer.position({ seq: 0, fact: 0, masked: 0, end: false });
    writer.output(Buffer.from("one\r\n"), 1000);
    writer.position({ seq: 1, fact: 0, masked: 0, end: false });
    writer.output(Buffer.from([0xff, 0x61, 0x62]), 2000);
    writer.resize(100, 30, 3000);
    writer.marker("tool", 4000);
    writer.exit(3, 5000);
    writer.position({ seq: 5, fact: 5, masked: 0, end: true });
  });

  test("gives size, hash and number of events", async () => {
    const result = await verifyAsciicast(chunksOf(good));

    const sha256 = createHash("sha256").update(good).digest("hex");
    assert.deepEqual(result, { ok: true, events: 5, bytes: good.length, sha256, problems: [] });
  });

  test("finds every cut that is not at the end of a line", async () => {
    for (let end = 0; end < good.length; end += 1) {
      if (end > 0 && good[end - 1] === 10) continue;
      const { ok } = await verifyAsciicast(chunksOf(good.subarray(0, end)));

      assert.equal(ok, false, `cut at ${end}`);
    }
  });

  test("finds a line that was taken out or changed", async () => {
    const lines = good.toString().trimEnd().split("\n");
    for (const index of [0, 2, 4, 5]) {
      const without = lines.filter((_, at) => at !== index).join("\n");
      assert.equal(
        (await verifyAsciicast(chunksOf(Buffer.from(`${without}\n`)))).ok,
        false,
        lines[index],
      );
    }
    const changed = good.toString().replace("one", "won!");
    assert.equal((await verifyAsciicast(chunksOf(Buffer.from(changed)))).ok, false);
  });

  const header = `{"version":3,"term":{"cols":80,"rows":24}}\n`;
  for (const [what, text, line] of [
    ["nothing at all", "", 1],
    ["a byte order mark", `\ufeff${header}`, 1],
    ["a header of another version", `{"version":1,"width":80,"height":24}\n`, 1],
    ["a size of 0", `{"version":3,"term":{"cols":0,"rows":24}}\n`, 1],
    ["a comment where the header belongs", `# hello\n${header}`, 1],
    ["a negative interval", `${header}[-1, "o", "x"]\n`, 2],
    ["an infinite interval", `${header}[1e999, "o", "x"]\n`, 2],
    ["a code of two letters", `${header}[0, "oo", "x"]\n`, 2],
    ["four fields", `${header}[0, "o", "x", 1]\n`, 2],
    ["an object", `${header}{"a":1}\n`, 2],
    ["half of a surrogate pair", `${header}[0, "o", "\\ud83d"]\n`, 2],
    ["a size that is none", `${header}[0, "r", "80"]\n`, 2],
    ["an exit that is no number", `${header}[0, "x", "ok"]\n`, 2],
    ["#raw that is not the event's", `${header}#raw /w==\n[0, "o", "x"]\n`, 3],
    ["#raw that is not base64", `${header}#raw !!\n[0, "o", "x"]\n`, 2],
    ["#raw without an event", `${header}#raw /w==\n`, 2],
    [
      "a v2 time that goes back",
      `{"version":2,"width":8,"height":2}\n[2, "o", "x"]\n[1, "o", "x"]\n`,
      3,
    ],
    ["a comment in v2", `{"version":2,"width":8,"height":2}\n# x\n`, 2],
  ] as const) {
    test(`names ${what}`, async () => {
      const { ok, problems } = await verifyAsciicast(chunksOf(Buffer.from(text)));

      assert.equal(ok, false);
      assert.equal(problems[0]?.line, line);
    });
  }

  test("passes over codes it does not know, empty lines and comments", async () => {
    const text = `${header}\n# note\n[0.5, "q", "?"]\n[1, "o", "x"]\n`;

    assert.deepEqual((await verifyAsciicast(chunksOf(Buffer.from(text)))).problems, []);
  });

  test("takes bytes that are not UTF-8, and lines without end, for what they are", async () => {
    const bad = Buffer.concat([Buffer.from(header), Buffer.from([0x5b, 0xff, 0x0a])]);
    const long = async function* (): AsyncGenerator<Buffer> {
      yield Buffer.from(header);
      const block = Buffer.alloc(1024 * 1024, 0x78);
      for (let sent = 0; sent <= MAX_LINE_BYTES; sent += block.length) yield block;
      yield Buffer.from(`\n[0, "o", "after"]\n`);
    };

    assert.equal((await verifyAsciicast(chunksOf(bad))).problems[0]?.line, 2);
    const result = await verifyAsciicast(long());
    assert.deepEqual([result.ok, result.events, result.problems.length], [false, 1, 1]);
  });

  test(
    "agrees with the vectors of the asciinema projects",
    {
      skip: existsSync(fixtures) ? false : "shared fixtures are not here",
    },
    async () => {
      const bad = [
        "broken",
        "invalid-code",
        "invalid-data",
        "invalid-resize",
        "invalid-theme",
        "invalid-time-1",
        "invalid-time-2",
        "wrong-event-length",
      ];
      const files = readdirSync(fixtures, { recursive: true, encoding: "utf8" }).filter((name) =>
        name.endsWith(".cast"),
      );
      assert.ok(files.length > 20);
      for (const name of files) {
        const { ok, problems } = await verifyAsciicast(join(fixtures, name));

        assert.equal(
          ok,
          !bad.some((file) => name.endsWith(`/${file}.cast`)),
          `${name} ${JSON.stringify(problems)}`,
        );
      }
      // The bytes of the session as another program recorded them, in v2 and v3.
      const resize = "\u001b[8;24;80t";
      const text = readFileSync(join(fixtures, "made-here/a31-raw.out"), "utf8").replace(
        resize,
        "",
      );
      for (const name of ["a31-v2.cast", "a31-v3.cast"]) {
        const source = readFileSync(join(fixtures, "made-here", name));
        assert.equal((await rawOf(source)).toString(), text, name);
      }
    },
  );
});

suite("views of a recording", () => {
  const file = fileOf((writer) => {
    writer.output(Buffer.from("a"), 500_000);
    writer.position({ seq: 1, fact: 0, masked: 0, end: false });
    writer.output(Buffer.from([0xff]), 700_000);
    writer.exit(0, 900_000);
  });

  test("v2 has absolute times, no comments, and verifies", async () => {
    const lines = [];
    for await (const line of toV2(chunksOf(file))) lines.push(line);

    assert.deepEqual(lines.slice(1), [
      '[0.5, "o", "a"]\n',
      '[0.7, "o", "\ufffd"]\n',
      '[0.9, "x", "0"]\n',
    ]);
    assert.match(lines[0] ?? "", /^{"version":2,"width":80,"height":24,"timestamp":1700000000,/);
    assert.equal((await verifyAsciicast(chunksOf(Buffer.from(lines.join(""))))).ok, true);
  });

  test("raw stops with an error at damage, after what is good before it", async () => {
    const got: string[] = [];
    const reading = async (): Promise<void> => {
      const cut = file.subarray(0, file.length - 4);
      for await (const bytes of rawBytesOf(chunksOf(cut))) got.push(bytes.toString("latin1"));
    };

    await assert.rejects(reading, { code: "recording_damaged" });
    assert.deepEqual(got, ["a", "\u00ff"]);
  });

  test("a live stream gets no comments", () => {
    assert.deepEqual(["#raw x", "", " ", '[0, "o", "#"]'].map(stripComments), [
      null,
      null,
      null,
      '[0, "o", "#"]',
    ]);
  });
});

function fileOf(write: (writer: AsciicastWriter) => void): Buffer {
  const lines = new BatchBuffer();
  const writer = new AsciicastWriter(lines);
  writer.header(facts);
  write(writer);
  return lines.bytes;
}

/** Split so that lines lie across chunks. */
async function* chunksOf(file: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < file.length; at += 1021) yield file.subarray(at, at + 1021);
}

async function linesOf(file: Buffer): Promise<CastLine[]> {
  return Array.fromAsync(readAsciicast(chunksOf(file) satisfies CastSource));
}

async function textOf(file: Buffer): Promise<string[]> {
  return (await linesOf(file)).flatMap((item) => {
    assert.notEqual(item.kind, "problem", JSON.stringify(item));
    return item.kind === "event" ? [item.event.data] : [];
  });
}

async function rawOf(file: Buffer): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(rawBytesOf(chunksOf(file))));
}

function somePiece(seed: number): Buffer {
  const size = 1 + ((seed * 7919) % 9000);
  if (seed % 3 === 0) return randomBytes(size);
  const text = Buffer.from('é│日本🚀 abc\u001b[31m"\\\ufffd'.repeat(size));
  const piece = text.subarray(seed % 4, text.length - (seed % 5)).subarray(0, 150_000);
  if (seed % 7 === 0) piece[seed % piece.length] = 0xc0;
  return piece;
}
