// Files of others, and odd ones: what the specifications of asciicast v1, v2 and v3 allow, and what they do not.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { rawBytesOf, readAsciicast, toV2 } from "../../src/protocol/asciicast.ts";
import { verifyAsciicast } from "../../src/protocol/asciicast-verify.ts";

const V2 = '{"version":2,"width":80,"height":24}\n';
const V3 = '{"version":3,"term":{"cols":80,"rows":24}}\n';
const V1 = `{
  "version": 1, "width": 80, "height": 24, "duration": 3.5,
  "title": "[[{\\"", "env": {"TERM": null, "SHELL": "/bin/sh"},
  "stdout": [
    [1.25, "one"],
    [
      0.5,
      "two é"
    ], [1e-3, "\\u001b[0m"]
  ]
}
`;
const palette = (count: number): string => Array.from({ length: count }, () => "#0a1B2c").join(":");
const themed = (count: number): string =>
  V3.replace(
    '"rows":24',
    `"rows":24,"theme":{"fg":"#000000","bg":"#ffffff","palette":"${palette(count)}"}`,
  );
const deep = "[".repeat(100_000) + "]".repeat(100_000);

const GOOD: [what: string, text: string, events: number][] = [
  ["v1 over many lines", V1, 3],
  ["v1 in one line", '{"version":1,"width":80,"height":24,"stdout":[[1,"a"],[2,"b"]]}', 2],
  ["v1 that is empty", '{"version":1,"width":80,"height":24,"stdout":[]}', 0],
  ["lines that end in CR LF", `${V3}# c\n[0, "o", "x"]\n`.replaceAll("\n", "\r\n"), 1],
  ["blanks around an event", `${V3}  [ 0 , "o" ,"x" ]  \t\n`, 1],
  ["blank lines, also at the end", `${V3}\n \n[0, "o", "x"]\n\n\n`, 1],
  ["a last line without its end", `${V2}[0, "o", "x"]`, 1],
  [
    "exponents, integers, many decimals",
    `${V3}[1e-3, "o", "x"]\n[2, "o", ""]\n[1.23456789012, "o", ""]\n`,
    3,
  ],
  ["minus nothing", `${V3}[-0.0, "o", "x"]\n`, 1],
  ["times of v2 that stand", `${V2}[1, "o", "x"]\n[1.0, "o", "y"]\n`, 2],
  ["codes that nobody knows", `${V3}[0, "z", "?"]\n[0, "é", ""]\n`, 2],
  [
    "a marker without a name, input, exit, resize",
    `${V3}[0,"m",""]\n[0,"i","\\r"]\n[0,"r","1x1"]\n[0,"x","143"]\n`,
    4,
  ],
  [
    "header fields that nobody knows",
    V3.replace('"version":3', '"version":3,"tags":["a"],"x":{"y":null}'),
    0,
  ],
  [
    "optional header fields that are null",
    V2.replace('"version":2', '"version":2,"title":null,"env":null,"theme":null,"timestamp":null'),
    0,
  ],
  ["a limit of idle time", V3.replace('"version":3', '"version":3,"idle_time_limit":2.5'), 0],
  ["palettes of 8 colours", themed(8), 0],
  ["palettes of 16 colours", themed(16), 0],
  ["an empty theme", V3.replace('"rows":24', '"rows":24,"theme":{}'), 0],
  [
    "an escaped NUL, U+2028 as it is, a whole surrogate pair",
    `${V3}[0, "o", "\\u0000\u2028\\ud83d\\ude80"]\n`,
    1,
  ],
  [
    "the same key twice: the last one counts, as everywhere in JSON",
    `{"version":2,${V3.slice(1)}[0, "o", "x"]\n`,
    1,
  ],
  ["an exit that is negative", `${V3}[0, "x", "-1"]\n`, 1],
  ["a resize with a leading nought", `${V3}[0, "r", "080x24"]\n`, 1],
  ["what the terminal is", V3.replace('"rows":24', '"rows":24,"type":"xterm","version":"x 1"'), 0],
  ["a theme of any depth", themed(8).replace('"fg"', `"deep":${deep},"fg"`), 0],
  ["a header of any depth", V3.replace('"version":3', `"version":3,"deep":${deep}`), 0],
];

const BAD: [what: string, text: string | Buffer, line: number, problem: RegExp][] = [
  ["an empty file", "", 1, /Expected a header, got nothing/],
  ["a line feed alone", "\n", 1, /Expected a header/],
  ["a byte order mark", `\ufeff${V3}`, 1, /byte order mark/],
  ["a header that is an array", '[0, "o", "x"]\n', 1, /Header is not of asciicast/],
  ["a header cut off", V3.slice(0, 20), 1, /Header is cut off/],
  ["a header that is no object", "[1", 1, /Expected a header as a JSON object/],
  [
    "a size beyond 16 bits",
    V2.replace("80", "65536"),
    1,
    /width: expected a size of at most 65535/,
  ],
  [
    "half of a surrogate pair in the title",
    V3.replace('"version":3', '"version":3,"title":"\\ud83d"'),
    1,
    /title: holds half of a surrogate pair/,
  ],
  [
    "half of a surrogate pair in env",
    V3.replace('"version":3', '"version":3,"env":{"A":"\\ud83d"}'),
    1,
    /env\.A: holds half/,
  ],
  ["tags that are none", V3.replace('"version":3', '"version":3,"tags":[1]'), 1, /tags\.0/],
  ["a terminal that is a number", V3.replace('"rows":24', '"rows":24,"type":5'), 1, /term\.type/],
  ["a negative duration", V2.replace('"version":2', '"version":2,"duration":-2'), 1, /duration/],
  [
    "a timestamp with decimals",
    V2.replace('"version":2', '"version":2,"timestamp":1.5'),
    1,
    /timestamp/,
  ],
  ["a version of the future", '{"version":4,"width":1,"height":1}\n', 1, /version/],
  [
    "a size of 0x0",
    V3.replace("80", "0").replace("24", "0"),
    1,
    /term\.cols: expected a size of at least 1/,
  ],
  ["a size that is a text", V2.replace("80", '"80"'), 1, /width/],
  ["a size with decimals", V2.replace("80", "80.5"), 1, /width/],
  ["env that is not of texts", V2.replace('"version":2', '"version":2,"env":{"A":1}'), 1, /env\.A/],
  [
    "a negative limit of idle time",
    V2.replace('"version":2', '"version":2,"idle_time_limit":-1'),
    1,
    /idle_time_limit/,
  ],
  ["a palette of 7 colours", themed(7), 1, /expected 8 or 16 colours/],
  ["NaN", `${V3}[NaN, "o", "x"]\n`, 2, /not JSON/],
  ["an infinite time", `${V3}[1e999, "o", "x"]\n`, 2, /number of seconds/],
  [
    "a time beyond all counting",
    `${V3}[1, "o", "x"]\n[1e300, "o", "x"]\n`,
    3,
    /beyond what can be counted/,
  ],
  ["a time as text", `${V3}["1", "o", "x"]\n`, 2, /number of seconds/],
  [
    "a time that goes back in v2",
    `${V2}[2, "o", "x"]\n[1.9, "o", "x"]\n`,
    3,
    /Time goes backwards/,
  ],
  ["a negative interval", `${V3}[-0.1, "o", "x"]\n`, 2, /at least 0/],
  ["an empty code", `${V3}[0, "", "x"]\n`, 2, /one letter/],
  ["a code that is a digit", `${V3}[0, "7", "x"]\n`, 2, /one letter/],
  ["a resize to 0x0", `${V3}[0, "r", "0x0"]\n`, 2, /COLSxROWS/],
  ["a resize beyond 16 bits", `${V3}[0, "r", "65536x24"]\n`, 2, /from 1 to 65535/],
  ["a resize with blanks", `${V3}[0, "r", "80 x 24"]\n`, 2, /COLSxROWS/],
  ["data that is null", `${V3}[0, "o", null]\n`, 2, /to be text/],
  ["half of a surrogate pair", `${V3}[0, "o", "\\ude80"]\n`, 2, /surrogate pair/],
  ["a NUL as it is", `${V3}[0, "o", "\u0000"]\n`, 2, /not JSON/],
  ["a comment in v2", `${V2}# note\n`, 2, /not JSON/],
  ["two events in one line", `${V3}[0,"o","a"] [0,"o","b"]\n`, 2, /not JSON/],
  ["a cut in the middle of an event", `${V3}[0, "o", "hal`, 2, /cut off/],
  ["depth without end", `${V3}${"[".repeat(200_000)}\n`, 2, /not JSON/],
  ["bytes that are not UTF-8", Buffer.from(`${V3}[0, "o", "\u00ff"]\n`, "latin1"), 2, /not UTF-8/],
  ["gzip", gzipSync(V3), 1, /compressed with gzip/],
  ["gzip, cut", gzipSync(V3.repeat(9)).subarray(0, 30), 1, /compressed with gzip/],
  ["zstd", zstdCompressSync(Buffer.from(V3)), 1, /compressed with zstd/],
  ["v1 with a negative delay", V1.replace("[1.25", "[-1.25"), 5, /at least 0/],
  ["v1 with a delay as text", V1.replace("      0.5,", '      "0.5",'), 6, /number of seconds/],
  ["v1 with data that is none", V1.replace('"one"', "true"), 5, /to be text/],
  ["v1 with an event of three", V1.replace('"one"', '"one", 1'), 5, /two fields/],
  ["v1 without a size", V1.replace('"width": 80, ', ""), 1, /width/],
  ["v1 cut off", V1.slice(0, -20), 1, /document of asciicast v1 that is cut off/],
  [
    "v1 with a line after it",
    `{"version":1,"width":80,"height":24,"stdout":[]}\n[0, "o", "x"]\n`,
    1,
    /Lines follow a document of asciicast v1/,
  ],
  [
    "v1 that is not UTF-8",
    Buffer.from(V1.replace("two é", "two \u00ff"), "latin1"),
    8,
    /not UTF-8/,
  ],
  ["v1 beyond all counting", V1.replace("0.5,", "1e300,"), 6, /beyond what can be counted/],
];

suite("odd recordings", () => {
  for (const [what, text, events] of GOOD)
    test(`are taken: ${what}`, async () => {
      const result = await verifyAsciicast(pieces(text));

      assert.deepEqual([result.problems, result.events], [[], events]);
      // What can be read can be exported.
      const lines = await Array.fromAsync(toV2(pieces(text)));
      assert.deepEqual((await verifyAsciicast(pieces(lines.join("")))).problems, []);
    });

  for (const [what, text, line, problem] of BAD)
    test(`are refused, with line and reason: ${what}`, async () => {
      const { ok, problems, bytes } = await verifyAsciicast(pieces(text));

      assert.equal(ok, false);
      assert.equal(problems[0]?.line, line, JSON.stringify(problems));
      assert.match(problems[0].problem, problem);
      assert.equal(bytes, Buffer.byteLength(text), "the whole file was read");
    });

  test("of v1 have delays that add up, and their bytes", async () => {
    const times = (await Array.fromAsync(readAsciicast(pieces(V1)))).flatMap((item) =>
      item.kind === "event" ? [[item.line, item.event.timeUs]] : [],
    );

    assert.deepEqual(times, [
      [5, 1_250_000],
      [6, 1_750_000],
      [9, 1_751_000],
    ]);
    const raw = Buffer.concat(await Array.fromAsync(rawBytesOf(pieces(V1))));
    assert.equal(raw.toString(), "onetwo é\u001b[0m");
  });

  test("of v1 that are cut off have one problem", async () => {
    const { problems } = await verifyAsciicast(pieces(V1.slice(0, -20)));

    assert.equal(problems.length, 1);
  });

  test("that are compressed have one problem, however many lines their bytes make", async () => {
    const { problems } = await verifyAsciicast(pieces(gzipSync(Buffer.alloc(1 << 20, "\n\u00ff"))));

    assert.equal(problems.length, 1);
  });
});

async function* pieces(text: string | Buffer): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += 7919) yield bytes.subarray(at, at + 7919);
}
