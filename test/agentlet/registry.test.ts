// Every place that a runtime has in the repository. A forgotten one fails with what is to be added; docs/runtime-images.md has the list.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { suite, test } from "node:test";
import { driverOf } from "../../src/agentlet/drivers/registry.ts";
import type { RuleSet } from "../../src/agentlet/states/screen-rule.ts";
import { knownRuntimes } from "../../src/protocol/runtimes.ts";
import type { KnownRuntime, RuntimeFacts } from "../../src/protocol/runtimes.ts";

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const isThere = (path: string) => existsSync(new URL(`../../${path}`, import.meta.url));
const versions = (JSON.parse(read("images/versions.json")) as { runtimes: Record<string, string> })
  .runtimes;
const { RUNTIMES } = (await import(
  new URL("../../scripts/runtimes.mjs", import.meta.url).href
)) as { RUNTIMES: { name: string; image?: string }[] };
const images = read("docs/runtime-images.md");
const states = read("docs/states.md");

/** A sentence for each place in which the runtime is missing. */
function missingOf(name: string, facts: RuntimeFacts, rules: RuleSet | null): string[] {
  const file = name.replaceAll(/(?<=[a-z])[A-Z]/g, (letter) => `-${letter}`).toLowerCase();
  const { image, program } = facts;
  const install = RUNTIMES.find((runtime) => runtime.image === image);
  // Of a vendor that gives it out by an installer only, there is none in a registry of packages.
  const isInstalledByHand = facts.install.startsWith("see ") && install === undefined;
  const files = [
    `src/agentlet/drivers/${file}.ts`,
    `src/agentlet/states/rules/${file}.ts`,
    `images/${image}/Dockerfile`,
    `images/${image}/README.md`,
    `test/runtimes/${file}.test.ts`,
  ];
  const wanted: [boolean, string][] = [
    ...files.map((path): [boolean, string] => [isThere(path), `add ${path}`]),
    [rules?.runtime === name, `name rules of its own in src/agentlet/drivers/${file}.ts`],
    [rules?.composer !== undefined, `say in its rules what its empty composer shows (composer)`],
    [versions[image] !== undefined, `pin its version in images/versions.json as "${image}"`],
    [
      isInstalledByHand || install?.name === program,
      `add { name: "${program}", image: "${image}", … } to scripts/runtimes.mjs, for its tests and its image`,
    ],
    [
      images.includes(`| \`${name}\``),
      `add its row to "What works today" in docs/runtime-images.md`,
    ],
    [
      images.includes(`\`${facts.keyVariable}\``),
      `name the variable of its key in docs/runtime-images.md`,
    ],
    [states.includes(`\n| ${name} `), `add its row to "Rules" in docs/states.md`],
  ];
  return wanted.filter(([isSo]) => !isSo).map(([, what]) => `${name}: ${what}`);
}

suite("the places of a runtime", () => {
  for (const name of Object.keys(knownRuntimes) as KnownRuntime[])
    test(`${name} is in all of them`, () => {
      assert.deepEqual(missingOf(name, knownRuntimes[name], driverOf(name).rules), []);
    });

  test("a ninth that has nothing but its entry is told each", () => {
    const facts: RuntimeFacts = {
      program: "ninth",
      install: "npm install --global ninth",
      image: "ninth",
      keyVariable: "NINTH_API_KEY",
      provider: "by key",
    };

    const missing = missingOf("NinthCode", facts, null).join("\n");

    for (const place of [
      "src/agentlet/drivers/ninth-code.ts",
      "src/agentlet/states/rules/ninth-code.ts",
      "images/ninth/Dockerfile",
      "images/versions.json",
      "scripts/runtimes.mjs",
      "test/runtimes/ninth-code.test.ts",
      "docs/runtime-images.md",
      "docs/states.md",
    ])
      assert.ok(missing.includes(place), `${place} in:\n${missing}`);
  });
});
