import assert from "node:assert/strict";
import { suite, test } from "node:test";
import * as fc from "fast-check";
import { compileRedactionSet } from "../../src/kit/redaction-set.ts";
import type { RedactionSet } from "../../src/kit/redaction-set.ts";
import { formsOfSecret } from "../../src/kit/secret-forms.ts";
import { TerminalRedactor } from "../../src/kit/terminal-redactor.ts";

const SECRET = "zQ7-wV9_kLm2pXs4tRb8";
const KNOWN = compileRedactionSet([Buffer.from(SECRET)]);
const SHAPES = compileRedactionSet([]);

function redact(set: RedactionSet, pieces: readonly Buffer[], showBelow = 0): string {
  const redactor = new TerminalRedactor(set, { cols: 80, showBelow });
  const given = pieces.map((piece) => Buffer.from(redactor.push(piece)));
  return Buffer.concat([...given, redactor.end()]).toString("latin1");
}

function all(set: RedactionSet, text: string | Buffer): string {
  return redact(set, [Buffer.from(text)]);
}

/** What a reader of the screen sees: no colours, no wraps. */
function plain(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replaceAll(/(?:\x1b\[|\xc2?\x9b)[0-9;]*[A-Za-z]/g, "").replaceAll(/\r\n/g, "");
}

suite("known values in a terminal", () => {
  test("takes a time that grows with the output, whatever backspaces and colours are in it", () => {
    const almost = SECRET.slice(0, 11);
    const hostile = [
      "\b".repeat(400_000),
      "a\b\b\b\b\b".repeat(80_000),
      "ab\b\b\b".repeat(80_000),
      "\x1b[m\b".repeat(80_000),
      almost + `${SECRET[11]}\b`.repeat(200_000),
      "ghp" + "_\b".repeat(200_000),
    ];
    const from = performance.now();

    for (const text of hostile) assert.equal(all(KNOWN, text).length, text.length);

    // The square of it takes minutes for each.
    assert.ok(performance.now() - from < 15_000);
  });

  test("every form of a value is masked, wherever it is split", () => {
    for (const form of formsOfSecret(Buffer.from(SECRET), { windows: false })) {
      const text = Buffer.concat([Buffer.from("key: "), form, Buffer.from(" end\r\n")]);
      const expected = `key: ${"*".repeat(form.length)} end\r\n`;
      for (let split = 0; split <= text.length; split += 1) {
        const got = redact(KNOWN, [text.subarray(0, split), text.subarray(split)]);
        assert.equal(got, expected, `${form.length} bytes, split at ${split}`);
      }
    }
  });

  test("a value that overlaps itself is masked, wherever it is split", () => {
    const value = "ghp_ghp_secret";
    const set = compileRedactionSet([Buffer.from(value)], []);
    const text = Buffer.from(`ghp_${value}.`);
    for (let split = 0; split <= text.length; split += 1)
      assert.equal(
        redact(set, [text.subarray(0, split), text.subarray(split)]),
        "ghp_**************.",
      );
  });

  test("ordinary output is not delayed, and what is alive waits in full", () => {
    const redactor = new TerminalRedactor(KNOWN, { cols: 80 });
    assert.equal(redactor.push(Buffer.from("$ ")).toString(), "$ ");
    assert.equal(redactor.push(Buffer.from(SECRET.slice(0, 5))).toString(), "");
    assert.equal(redactor.heldBytes, 5);
    assert.equal(redactor.push(Buffer.from("!")).toString(), `${SECRET.slice(0, 5)}!`);
  });

  test("a colour between any two characters hides nothing but the first three", () => {
    for (let at = 1; at < SECRET.length; at += 1) {
      const text = `key ${SECRET.slice(0, at)}\x1b[1;31m${SECRET.slice(at)}\x1b[0m end`;
      const shown = plain(all(KNOWN, text));
      assert.equal(shown, `key ${"*".repeat(SECRET.length)} end`);
      for (let split = 0; split <= text.length; split += 1) {
        const bytes = Buffer.from(text);
        const pieces = [bytes.subarray(0, split), bytes.subarray(split)];
        const left = plain(redact(KNOWN, pieces)).replaceAll("*", "");
        assert.ok(left.length <= "key  end".length + 3, `${at}, split at ${split}: ${left}`);
      }
    }
  });

  test("each character in a colour of its own is masked", () => {
    const text = SECRET.split("")
      .map((char, index) => `\x1b[3${index % 8}m${char}`)
      .join("");
    assert.equal(plain(all(KNOWN, text)), "*".repeat(SECRET.length));
  });

  test("a value that a line break and an indent cut is masked, the line break stays", () => {
    const text = `${SECRET.slice(0, 9)}\r\n  ${SECRET.slice(9)}\r\n`;
    assert.equal(all(KNOWN, text), `${"*".repeat(9)}\r\n  ${"*".repeat(SECRET.length - 9)}\r\n`);
  });

  test("base64 in lines of 76 characters is masked", () => {
    const value = "a-long-value-".repeat(12);
    const set = compileRedactionSet([Buffer.from(value)]);
    const lines = Buffer.from(value).toString("base64").replaceAll(/.{76}/g, "$&\r\n");
    const masked = all(set, lines);
    assert.match(masked, /^\*{76}\r\n\*{76}\r\n\**.{0,3}$/);
  });

  test("overstruck and corrected characters are seen as what is left", () => {
    const bold = all(
      KNOWN,
      SECRET.split("")
        .map((char) => `${char}\b${char}`)
        .join(""),
    );
    assert.equal(bold.replaceAll(/.\x08/g, ""), "*".repeat(SECRET.length));
    const typed = `${SECRET.slice(0, 8)}x\b${SECRET.slice(8)}`;
    assert.equal(all(KNOWN, typed).replaceAll("*", ""), "x\b");
  });

  test("titles, links and clipboard strings are masked", () => {
    const base64 = Buffer.from(`token ${SECRET} end`).toString("base64");
    const text = `\x1b]0;${SECRET}\x07\x1b]8;;https://x/?k=${SECRET}\x1b\\link\x1b]52;c;${base64}\x07`;
    const masked = all(KNOWN, text);
    assert.ok(!masked.includes(SECRET));
    const clip = Buffer.from(
      /52;c;([^\x07]*)/.exec(masked)?.[1]?.replaceAll("*", "A") ?? "",
      "base64",
    );
    assert.ok(!clip.toString().includes(SECRET.slice(2, -2)));
    assert.equal(masked.length, text.length);
  });

  test("a value added in mid-stream counts for what is held and what comes", () => {
    const redactor = new TerminalRedactor(compileRedactionSet([Buffer.from("zQ7-another")]), {
      cols: 80,
    });
    assert.equal(redactor.push(Buffer.from(SECRET.slice(0, 4))).toString(), "");
    redactor.use(KNOWN);
    assert.equal(
      redactor.push(Buffer.from(`${SECRET.slice(4)} `)).toString(),
      `${"*".repeat(SECRET.length)} `,
    );
  });

  test("an echo of fewer than 8 bytes is shown at once, and the rest of a match masked", () => {
    const redactor = new TerminalRedactor(KNOWN, { cols: 80, showBelow: 8 });
    const given = SECRET.split("").map((char) => redactor.push(Buffer.from(char)).toString());
    assert.deepEqual(given.slice(0, 7), SECRET.split("").slice(0, 7));
    const rest = [...given.slice(7), redactor.push(Buffer.from(" ")).toString()].join("");
    assert.equal(rest, `${"*".repeat(SECRET.length - 7)} `);
  });

  test("whatever the pieces, the result is the same, as long, and holds no value", () => {
    const atom = fc.constantFrom(
      SECRET,
      SECRET.slice(0, 7),
      SECRET.slice(3),
      Buffer.from(SECRET).toString("hex"),
      "\r\n",
      "\x1b[31m",
      "\b",
      "\x1b]0;t\x07",
      "é",
      "sk-ant-",
      "a",
      " ",
      ` ${"ghp_".padEnd(44, "b4")}`,
    );
    fc.assert(
      fc.property(
        fc.array(atom, { maxLength: 12 }),
        fc.array(fc.nat({ max: 30 }), { maxLength: 20 }),
        (atoms, cuts) => {
          const bytes = Buffer.from(atoms.join(""));
          const pieces: Buffer[] = [];
          let from = 0;
          for (const cut of cuts) {
            pieces.push(bytes.subarray(from, from + cut));
            from = Math.min(bytes.length, from + cut);
          }
          pieces.push(bytes.subarray(from));
          const got = redact(KNOWN, pieces);
          assert.equal(got.length, bytes.length);
          assert.ok(!got.includes(SECRET));
          assert.ok(!got.includes("b4b4b4b4b4b4"));
          const input = bytes.toString("latin1");
          for (let at = 0; at < got.length; at += 1)
            assert.ok(got[at] === input[at] || got[at] === "*");
          // Pieces change only how much of a value with controls in it shows: three characters for each of its beginnings.
          const visible = (text: string): number => text.replaceAll("*", "").length;
          assert.ok(visible(got) - visible(all(KNOWN, bytes)) <= 3 * atoms.length);
        },
      ),
      { numRuns: 1500 },
    );
  });

  test("who starts again where another redactor stood masks the rest as it would have", () => {
    const text = Buffer.from(
      `a ${SECRET} ghp_${"x1".repeat(18)} b ${SECRET}${SECRET.slice(4)} c\r\n`,
    );
    const expected = all(KNOWN, text);
    for (let fed = 0; fed <= text.length; fed += 1) {
      const first = new TerminalRedactor(KNOWN, { cols: 80 });
      const given = Buffer.from(first.push(text.subarray(0, fed)));
      const second = new TerminalRedactor(KNOWN, { cols: 80 });
      second.prime(given);
      const rest = second.push(text.subarray(given.length)).toString() + second.end().toString();
      assert.equal(given.toString() + rest, expected, `lost after ${fed} bytes`);
    }
  });

  test("a match that never ends is given out, masked", () => {
    const set = compileRedactionSet([Buffer.alloc(20, "a")], []);
    const redactor = new TerminalRedactor(set, { cols: 80 });
    let given = 0;
    for (let index = 0; index < 40; index += 1)
      given += redactor.push(Buffer.alloc(8192, "a")).length;
    assert.ok(given > 200 * 1024);
    assert.ok(redactor.heldBytes <= 64 * 1024 + 8192);
  });
});

suite("tokens known by their shape", () => {
  // Made here; none was ever given out.
  const body = (length: number): string =>
    "k3Yq9ZtR7wLm2XsB".repeat(Math.ceil(length / 16)).slice(0, length);
  const upper = "Q7RTYUIOPASD2F4G";
  const tokens: [name: string, prefix: string, rest: string][] = [
    ["anthropic", "sk-ant-", `api03-${body(93)}`],
    ["openai project", "sk-proj-", body(80)],
    ["openai legacy", "sk-", body(48)],
    ["openrouter", "sk-or-v1-", "0f".repeat(32)],
    ["github", "ghp_", body(36)],
    ["github app", "ghs_", body(36)],
    ["github fine-grained", "github_pat_", `${body(22)}_${body(59)}`],
    ["gitlab", "glpat-", body(20)],
    ["aws key id", "AKIA", upper],
    ["aws secret", "AWS_SECRET_ACCESS_KEY", body(40)],
    ["google api key", "AIza", body(35)],
    ["google oauth", "ya29.", body(60)],
    ["slack bot", "xoxb-", "123456789012-123456789012-k3Yq9ZtR7wLm2XsBk3Yq9ZtR"],
    ["stripe live", "sk_live_", body(24)],
    ["stripe webhook", "whsec_", body(32)],
    ["npm", "npm_", body(36)],
    ["pypi", "pypi-", body(120)],
    ["hugging face", "hf_", body(34)],
    ["sendgrid", "SG.", `${body(22)}.${body(43)}`],
    ["vault", "hvs.", body(90)],
    ["json web token", "eyJ", `hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.${body(43)}`],
    ["bearer", "Authorization: Bearer ", body(40)],
  ];

  for (const [name, prefix, rest] of tokens)
    test(`${name} is masked behind its beginning, wherever it is split`, () => {
      const gap = name === "aws secret" ? "=" : "";
      for (const [before, after] of [
        ["", "\r\n"],
        ["export T='", "' "],
        ["\x1b[32m", "\x1b[0m"],
      ]) {
        const text = Buffer.from(`${before}${prefix}${gap}${rest}${after}`);
        const expected = `${before}${prefix}${gap}${"*".repeat(rest.length)}${after}`;
        for (let split = 0; split <= text.length; split += 1)
          assert.equal(redact(SHAPES, [text.subarray(0, split), text.subarray(split)]), expected);
      }
    });

  test("a token in two colours, or wrapped at the screen's edge, is masked", () => {
    const token = `ghp_${body(36)}`;
    const colored = `${token.slice(0, 20)}\x1b[33m${token.slice(20)} `;
    assert.equal(plain(all(SHAPES, colored)), `ghp_${"*".repeat(36)} `);
    const wrapped = `${"x ".repeat(30)}${token.slice(0, 20)}\r\n${token.slice(20)}\r\nnext\r\n`;
    assert.ok(plain(all(SHAPES, wrapped)).endsWith(`ghp_${"*".repeat(36)}next`));
  });

  for (const [how, paint] of [
    ["each cell by a cursor address", (char, index) => `\x1b[7;${5 + index}H${char}`],
    ["each cell by a column", (char, index) => `\x1b[${5 + index}G\x1b[3${index % 8}m${char}`],
    [
      "runs of four in colours of their own, each put where the cursor is",
      (char, index) =>
        index % 4 === 0 ? `\x1b[0m\x1b[7;${5 + index}f\x1b[38;5;${index}m${char}` : char,
    ],
    ["the long form of a sequence's beginning", (char) => `\x9b1;31m${char}`],
  ] satisfies [string, (char: string, index: number) => string][])
    test(`a token that is painted by ${how} is masked, wherever it is split`, () => {
      const token = `ghp_${body(36)}`;
      const painted = token.split("").map(paint).join("");
      const text = Buffer.from(`\x1b[2J\x1b[7;5H${painted}\x1b[8;5Hnext `);
      const expected = plain(text.toString()).replace(body(36), "*".repeat(36));
      for (let split = 0; split <= text.length; split += 1) {
        const pieces = [text.subarray(0, split), text.subarray(split)];
        assert.equal(plain(redact(SHAPES, pieces)), expected, `split at ${split}`);
      }
    });

  test("a move to any other place ends the token", () => {
    const token = `ghp_${body(36)}`;
    for (const move of [
      "\x1b[8;9H",
      "\x1b[7;44H",
      "\x1b[C",
      "\x1b[A",
      "\x1b[46G",
      "\x1b[8d",
      "\x1b[u",
    ]) {
      const masked = all(SHAPES, `\x1b[7;5H${token}${move}words-that-stay`);
      assert.equal(masked, `\x1b[7;5Hghp_${"*".repeat(36)}${move}words-that-stay`);
    }
  });

  test("a token that begins in the middle of a line and wraps at the screen's edge is masked", () => {
    const token = `ghp_${body(36)}`;
    for (const start of ["\x1b[7;61H", "\x1b[61G", `\r\n${" ".repeat(60)}`])
      for (const next of ["\r\n", "\x1b[8;1H"]) {
        const masked = all(
          SHAPES,
          `${start}${token.slice(0, 20)}${next}${token.slice(20)}\r\nstays`,
        );
        assert.equal(masked, `${start}ghp_${"*".repeat(16)}${next}${"*".repeat(20)}\r\nstays`);
      }
  });

  test("a character that is repeated by a sequence counts as often as it is shown", () => {
    const token = `ghp_${body(10)}AAAAAAAAAA${body(16)}`;
    const painted = Buffer.from(`x ${token.replace("AAAAAAAAAA", "A\x1b[9b")} end`);
    for (let split = 0; split <= painted.length; split += 1) {
      const masked = redact(SHAPES, [painted.subarray(0, split), painted.subarray(split)]);
      assert.equal(masked, `x ghp_${"*".repeat(11)}\x1b[9b${"*".repeat(16)} end`);
    }
    const value = "seeeeeeeeecret-0f8a77";
    const known = compileRedactionSet([Buffer.from(value)], []);
    const masked = all(known, `key: ${value.replace("eeeeeeeee", "e\x1b[8b")}.`);
    assert.ok(masked.endsWith(`**\x1b[8b${"*".repeat(value.length - 10)}.`), masked);
  });

  test("repeats without end cost no more than other output", () => {
    const set = compileRedactionSet([Buffer.from(SECRET)]);
    const text = Buffer.from(`ghp_${"a\x1b[64b".repeat(200_000)}`);
    const before = performance.now();
    assert.equal(redact(set, [text]).length, text.length);
    assert.ok(performance.now() - before < 10_000);
  });

  test("characters of two bytes are told from controls of two", () => {
    const value = "pass£word§0f8a77bé";
    const set = compileRedactionSet([Buffer.from(value)], []);
    const colored = Buffer.from(value.split("").join("\x1b[1m\x9b31m"));
    const bytes = Buffer.byteLength(value);
    for (let split = 0; split <= colored.length; split += 1) {
      const masked = redact(set, [colored.subarray(0, split), colored.subarray(split)]);
      const left = plain(masked).replaceAll("*", "");
      assert.ok(Buffer.byteLength(left) <= 3, `split at ${split}: ${left}`);
    }
    assert.equal(plain(all(set, colored.toString())), "*".repeat(bytes));
    const title = `\x1b]0;title\x9cghp_${body(20)}\x1b[1m${body(16)} `;
    assert.ok(all(SHAPES, title).endsWith(`ghp_${"*".repeat(20)}\x1b[1m${"*".repeat(16)} `));
  });

  test("a line that ends before the edge ends the token", () => {
    const text = `ghp_${body(36)}\r\nplain words stay\r\n`;
    assert.equal(all(SHAPES, text), `ghp_${"*".repeat(36)}\r\nplain words stay\r\n`);
  });

  test("a private key is masked between its lines, which stay", () => {
    const lines = [body(64), body(64), body(30)].join("\r\n");
    for (const kind of ["", "RSA ", "EC ", "OPENSSH "]) {
      const text = `-----BEGIN ${kind}PRIVATE KEY-----\r\n${lines}\r\n-----END ${kind}PRIVATE KEY-----\r\nafter\r\n`;
      const masked = all(SHAPES, text);
      assert.equal(masked, text.replaceAll(lines, lines.replaceAll(/[A-Za-z0-9]/g, "*")));
    }
    const json = JSON.stringify({
      key: `-----BEGIN PRIVATE KEY-----\n${body(64)}\n-----END PRIVATE KEY-----\n`,
    });
    assert.ok(!all(SHAPES, json).includes(body(16)));
  });

  test("what only looks a little like a token stays", () => {
    const harmless = [
      "task-list risk-management-of-the-disk-drives-and-all-that-there-is sk-learn sk-",
      "npm_config_registry=https://example.com npm_package_version=1.2.3",
      "AKIA AKIAXX ASIA-PACIFIC EURASIAN01234567890123",
      "eyJ is how it begins; eyJhbGciOiJIUzI1NiJ9 alone is a header",
      "ghp_short gho_ glpat-abc xoxb-1 sk_test_1 hf_hub_download hf_transfer_enabled",
      "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "5f0c1d9e-1b7a-4b0e-8f57-0123456789ab 2c26b46b68ffc68ff99b453c1d30413413422d70",
      "-----BEGIN CERTIFICATE-----\r\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\r\n-----END CERTIFICATE-----",
      "key_press key_0 SG.txt r8_x dapi dapi.example dop_v1_ hvs.example.com AIza",
      "Authorization: Bearer <your token here> and authorization: Bearer realm",
    ];
    for (const text of harmless) assert.equal(all(SHAPES, `${text}\r\n`), `${text}\r\n`);
  });

  test("what only may begin a token does not wait", () => {
    const redactor = new TerminalRedactor(SHAPES, { cols: 80 });
    for (const text of ["waiting", " gh", "p", "-----BEGIN"])
      assert.equal(redactor.push(Buffer.from(text)).toString(), text);
  });

  test("the beginning of a token that never goes on is given at the end", () => {
    const redactor = new TerminalRedactor(SHAPES, { cols: 80 });
    const given = redactor.push(Buffer.from("export ghp_abc")).toString();
    assert.equal(given + redactor.end().toString(), "export ghp_abc");
  });
});
