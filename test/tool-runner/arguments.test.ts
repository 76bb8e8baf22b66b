import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { compileSchema } from "../../src/tool-runner/argument-schema.ts";
import { CheckBudget } from "../../src/tool-runner/check-budget.ts";
import { admitArguments, parseWord, type ArgumentPlan } from "../../src/tool-runner/arguments.ts";

function plan(
  command: string[],
  properties: Record<string, unknown>,
  more: Partial<ArgumentPlan> & { schema?: object } = {},
): ArgumentPlan {
  const { schema, ...rest } = more;
  return {
    check: compileSchema({ type: "object", properties, additionalProperties: false, ...schema }),
    known: Object.keys(properties),
    words: command.map((word) => parseWord(word)),
    allowDash: new Set(),
    stdin: "none",
    ...rest,
  };
}

const text = { type: "string" };
const refused = { code: "arguments_invalid" };

suite("admitArguments", () => {
  test("keeps a value inside its word, whatever it holds", () => {
    const given = "a b; $(id) `id` '\"\n--x {{y}}";

    const { argv } = admitArguments(
      plan(["/bin/x", "--label={{label}}", "mid-{{label}}-end"], { label: text }),
      { label: given },
    );

    assert.deepEqual(argv, ["/bin/x", `--label=${given}`, `mid-${given}-end`]);
  });

  test("renders numbers, booleans, null and lists as JSON", () => {
    const words = plan(["/bin/x", "n={{n}}", "b={{b}}", "z={{z}}", "l={{l}}"], {
      n: { type: "number" },
      b: { type: "boolean" },
      z: { type: "null" },
      l: { type: "array" },
    });

    const { argv } = admitArguments(words, { n: 1.5, b: true, z: null, l: ["a", 1] });

    assert.deepEqual(argv.slice(1), ["n=1.5", "b=true", "z=null", 'l=["a",1]']);
  });

  test("leaves out a word whose argument was not given", () => {
    const { argv } = admitArguments(
      plan(["/bin/x", "--label={{label}}", "tail"], { label: text }),
      {},
    );

    assert.deepEqual(argv, ["/bin/x", "tail"]);
  });

  for (const [name, value] of Object.entries({
    "an option at the start of a word": { v: "--upload-pack=sh" },
    "a short option": { v: "-x" },
    NUL: { v: "a\0b" },
    "a lone surrogate": { v: "\ud800" },
    "an unknown argument": { v: "a", w: "b" },
    "the wrong type": { v: 1 },
    "a prototype key": JSON.parse('{"v":"a","__proto__":{"x":1}}') as unknown,
    "an argument list": ["a"],
    null: null,
    "a long word": { v: "x".repeat(200_000) },
  })) {
    test(`refuses ${name}`, () => {
      assert.throws(() => admitArguments(plan(["/bin/x", "{{v}}"], { v: text }), value), refused);
    });
  }

  test("lets a value begin with - only where it was declared or cannot be an option", () => {
    const words = (allowDash: string[]): ArgumentPlan =>
      plan(["/bin/x", "{{v}}"], { v: text }, { allowDash: new Set(allowDash) });

    assert.deepEqual(admitArguments(words(["v"]), { v: "-x" }).argv, ["/bin/x", "-x"]);
    assert.deepEqual(admitArguments(plan(["/bin/x", "--l={{v}}"], { v: text }), { v: "-x" }).argv, [
      "/bin/x",
      "--l=-x",
    ]);
    assert.throws(
      () =>
        admitArguments(plan(["/bin/x", "{{e}}{{v}}"], { e: text, v: text }), { e: "", v: "-x" }),
      refused,
    );
    assert.throws(
      () => admitArguments(plan(["/bin/x", "{{n}}"], { n: { type: "number" } }), { n: -5 }),
      refused,
    );
  });

  test("refuses integers that lost digits and trees without end", () => {
    const anything = plan(["/bin/x"], {}, { schema: { additionalProperties: true } });
    const deep = JSON.parse(`${"[".repeat(100)}${"]".repeat(100)}`) as unknown;

    assert.throws(() => admitArguments(anything, { n: 2 ** 53 }), refused);
    assert.throws(() => admitArguments(anything, { deep }), refused);
  });

  test("gives the same canonical text whatever the order of keys", () => {
    const both = plan(["/bin/x"], { a: text, b: {} }, { stdin: "json" });

    const one = admitArguments(both, { a: "1", b: { d: 1, c: 2 } });
    const other = admitArguments(both, { b: { c: 2, d: 1 }, a: "1" });

    assert.equal(one.canonical, other.canonical);
    assert.deepEqual(JSON.parse(String(one.stdin)), { a: "1", b: { d: 1, c: 2 } });
  });

  test("does not name values in its refusals", () => {
    assert.throws(
      () =>
        admitArguments(plan(["/bin/x", "{{v}}"], { v: { type: "string", maxLength: 3 } }), {
          v: "topsecret",
        }),
      (error: Error) => !error.message.includes("topsecret"),
    );
  });
});

suite("compileSchema", () => {
  test("does not change what it checks: no defaults, no coercion", () => {
    const check = compileSchema({
      type: "object",
      properties: { n: { type: "number", default: 3 } },
    });
    const value = { n: "1" };

    assert.equal(check(value).length, 1);
    assert.deepEqual(value, { n: "1" });
    const empty = {};
    assert.deepEqual(check(empty), []);
    assert.deepEqual(empty, {});
  });

  test("interrupts a pattern that backtracks for ever", () => {
    const check = compileSchema({
      type: "object",
      properties: { v: { type: "string", pattern: "^(a+)+$" } },
    });

    const startedAt = performance.now();
    const problems = check({ v: `${"a".repeat(60)}!` });

    assert.match(problems.join(), /took longer/);
    assert.ok(performance.now() - startedAt < 5000);
  });

  test("a schema that took too long takes no value for a minute, nor do others of its source", (context) => {
    const budget = new CheckBudget();
    const slow = { type: "object", properties: { v: { pattern: "^(a+)+$" } } };
    const [check, sibling] = [compileSchema(slow, { budget }), compileSchema(slow, { budget })];
    const stranger = compileSchema(slow);
    assert.deepEqual(check({ v: "aaa" }), []);
    assert.match(check({ v: `${"a".repeat(60)}!` }).join(), /longer than 100 ms/);

    const before = process.cpuUsage();
    for (let call = 0; call < 100; call += 1)
      assert.match(check({ v: `${"a".repeat(60)}!` }).join(), /takes none for another \d\d s/);
    assert.match(sibling({ v: "aaa" }).join(), /takes none/);
    assert.deepEqual(stranger({ v: "aaa" }), []);
    assert.ok(process.cpuUsage(before).user / 1000 < 100);

    const later = performance.now() + 61_000;
    context.mock.method(performance, "now", () => later);
    assert.deepEqual(check({ v: "aaa" }), []);
  });

  test("many checks that are slow, each below its bound, close a schema as well", () => {
    const check = compileSchema({ type: "object", properties: { v: { pattern: "^(a+)+$" } } });
    // The length that takes a good part of the bound on this machine.
    const value = (length: number) => ({ v: `${"a".repeat(length)}!` });
    let length = 16;
    for (let took = 0; took < 15; length += 1) {
      const before = process.threadCpuUsage();
      assert.doesNotMatch(check(value(length)).join(), /took/);
      took = process.threadCpuUsage(before).user / 1000;
    }

    let calls = 0;
    while (!/takes none/.test(check(value(length - 1)).join())) calls += 1;

    assert.ok(calls <= 60, `closed only after ${calls} calls`);
  });

  for (const [name, schema] of Object.entries({
    "a reference to elsewhere": { $ref: "https://example.test/schema.json" },
    "an unknown format": {
      type: "object",
      properties: { a: { type: "string", format: "x-secret" } },
    },
    "an unknown keyword": { type: "object", propertees: {} },
    "a type that is none": { type: "objekt" },
  })) {
    test(`refuses ${name}`, () => assert.throws(() => compileSchema(schema)));
  }

  for (const [format, good, bad] of [
    ["date", ["2024-02-29"], ["2026-02-31", "2026-02-29", "2026-13-01", "2026-1-1"]],
    [
      "date-time",
      ["2026-02-28T23:59:60Z", "2026-02-28t01:02:03.456+05:30"],
      [
        "2026-02-28T01:02:03",
        "2026-02-31T01:02:03Z",
        "2026-02-28T24:00:00Z",
        "2026-02-28 01:02:03Z",
        "2026-02-28T01:02:03Z and more",
      ],
    ],
    [
      "uri",
      ["https://example.test/a%20b?c=[d]#e", "urn:isbn:1", "mailto:a@example.test"],
      ["https://example.test/a b", "https://example.test/\n", " https://a.test", "http://a/%zz"],
    ],
  ] as const) {
    test(`knows what is a ${format}`, () => {
      const check = compileSchema({ type: "object", properties: { v: { format } } });

      for (const v of good) assert.deepEqual(check({ v }), [], v);
      for (const v of bad) assert.equal(check({ v }).length, 1, v);
    });
  }

  test("takes both dialects", () => {
    const draft7 = compileSchema({
      $schema: "http://json-schema.org/draft-07/schema#",
      type: "object",
      definitions: { a: { type: "string" } },
      properties: { a: { $ref: "#/definitions/a" } },
    });
    const current = compileSchema({
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      $defs: { a: { type: "string" } },
      properties: { a: { $ref: "#/$defs/a" } },
    });

    assert.equal(draft7({ a: 1 }).length, 1);
    assert.equal(current({ a: 1 }).length, 1);
  });
});
