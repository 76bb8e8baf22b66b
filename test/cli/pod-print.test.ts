import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { ConfigMap } from "kubernetes-types/core/v1.d.ts";
import { parseAllDocuments } from "yaml";
import { plainJson, printObjects } from "../../src/cli/pod/print-objects.ts";

/** What kubectl's reader of YAML 1.1 takes for a line break or refuses, and `\n` not: none of them may stand in the text as it is. */
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const RAW = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/u;

/** An object whose strings are what no schema would let through: the printer relies on none. */
function mapOf(text: string, word = "x"): ConfigMap {
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: word, labels: { [word]: word, [`a${text}`]: text } },
    data: { "run.json": `${plainJson({ goal: text })}\n` },
  };
}

function read(text: string, version: "1.1" | "1.2"): unknown[] {
  return parseAllDocuments(text, { version, merge: false }).map((document) => {
    assert.deepEqual(document.errors, []);
    return document.toJS() as unknown;
  });
}

const INJECTED = [
  "\u0085",
  "\u2028",
  "\u2029",
  "\ufeff",
  "\u0000",
  "\u001b[2J",
  "\u007f",
  "\u009b",
  "\r",
  "\r\n",
  "\t",
  "\uffff",
].map((between) => `Fix${between}kind: ClusterRoleBinding${between}---${between}immutable: false`);

for (const text of INJECTED)
  test(`a goal cannot leave its string with ${JSON.stringify(text.slice(3, 7))}`, () => {
    const map = mapOf(text);

    const printed = printObjects([map]);

    assert.doesNotMatch(printed, RAW);
    for (const version of ["1.1", "1.2"] as const) assert.deepEqual(read(printed, version), [map]);
    assert.deepEqual(JSON.parse(map.data?.["run.json"] ?? ""), { goal: text });
  });

test("whatever the strings are, what is printed holds no character that readers take differently, and means the same", () => {
  const text = fc.string({ unit: "binary", maxLength: 60 }).filter((one) => one !== "__proto__");
  fc.assert(
    fc.property(text, text, (one, other) => {
      const map = mapOf(one, `w${other}`);
      const printed = printObjects([map, mapOf(other)]);
      assert.doesNotMatch(printed, RAW);
      assert.deepEqual(read(printed, "1.2"), [map, mapOf(other)]);
    }),
    { numRuns: 500 },
  );
});

for (const word of "on yes no off y n ON No 1_0 0b11 012 1:30 2026-11-30 ~ null 0x1F 1e3 .inf <<".split(
  " ",
))
  test(`${word} is a string for a reader of YAML 1.1 too, as a name and as a value`, () => {
    const map = mapOf("x", word);
    assert.deepEqual(read(printObjects([map]), "1.1"), [map]);
  });
