import assert from "node:assert/strict";
import { copyFileSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { openGreetingApi } from "../../examples/hello/greeting-api.ts";
import { openLab, repository, resultOf } from "../helpers/lab.ts";
import type { Lab } from "../helpers/lab.ts";
import { aTool, addNode, anAgent, reachApi, writePackage } from "../helpers/manifests.ts";
import { tapManager } from "../helpers/manager-tap.ts";
import { findSecret } from "../helpers/secret-forms.ts";

// With what each encoding changes: quotes and backslashes for JSON, + / = for URLs and base64, & and < for HTML.
const SECRET = 'S3cret/"plus+and\\slash=&<x>'.concat("0123456789abcdef");

// Prints the response, which reflects the secret, in every way a careless tool might.
const LEAKY_TOOL = `#!/opt/tool/node
const response = await fetch(process.env.HELLO_API + "/v1/greeting?name=x");
const text = await response.text();
const { authorization } = JSON.parse(text);
const value = authorization.replace("Bearer ", "");
console.log(text);
console.log(value, encodeURIComponent(value), JSON.stringify(value));
console.log(Buffer.from(value).toString("base64"), Buffer.from(value).toString("hex"));
console.error(authorization);
`;

interface Place {
  where: string;
  bytes: Buffer;
}

suite("the secret of a tool", () => {
  test("is nowhere in zone A, the terminal, the recording, the events, the logs, or what the manager is told and keeps", async () => {
    await using lab = openLab();
    await using api = await openGreetingApi(SECRET);
    await using tap = await tapManager(lab);
    const secretFile = lab.write("secret", SECRET, 0o600);
    const hunt = "/opt/agentkube/node ./secret-hunter.ts";
    const end = await runWithTool(
      lab,
      api,
      [`--secret=hello-token/token=@${secretFile}`],
      `leaky run; ${hunt} hunted.jsonl; leaky run >said.txt 2>&1`,
    );

    assert.equal(end.result.outcome, "succeeded", end.text);
    assert.deepEqual(
      end.result.calls.map(({ outcome }) => outcome),
      ["completed", "completed"],
    );
    const places = [
      ...everyPlace(lab, end.result.run),
      ...tap.said(),
      { where: "output of run", bytes: Buffer.from(end.text) },
    ];
    // The tap heard the registration, the recording and the audit.
    const heard = Buffer.concat(tap.said().map(({ bytes }) => bytes)).toString("latin1");
    assert.match(heard, /POST \/v1\/runs HTTP/);
    assert.match(heard, /"kind":"audit"[^]*"verdict":"allowed"/);
    assert.match(heard, /Hello, x!/);
    // The agent did get the tool's answer: a search over nothing would prove nothing.
    assert.match(readFileSync(path.join(lab.workspace, "said.txt"), "utf8"), /Hello, x!/);
    assert.ok(places.length > 40, `only ${places.length} places`);
    assert.deepEqual(search(places), []);
  });

  test("is found by the same search where it was planted", async () => {
    await using lab = openLab();
    await using api = await openGreetingApi(SECRET);
    await using tap = await tapManager(lab);
    const secretFile = lab.write("secret", SECRET, 0o600);
    lab.write("planted.json", JSON.stringify({ note: SECRET }));
    copyFileSync(path.join(lab.config, "planted.json"), path.join(lab.workspace, "planted.json"));
    const hex = Buffer.from(SECRET).toString("hex");
    const end = await runWithTool(
      lab,
      api,
      [`--secret=hello-token/token=@${secretFile}`],
      `echo ${hex}; export NOTE=${Buffer.from(`x${SECRET}`).toString("base64")}; /opt/agentkube/node ./secret-hunter.ts hunted.jsonl`,
    );

    assert.equal(end.result.outcome, "succeeded", end.text);
    const found = search([...everyPlace(lab, end.result.run), ...tap.said()]);
    const forms = (where: RegExp) =>
      found.filter((hit) => where.test(hit.where)).map(({ form }) => form);
    assert.ok(forms(/planted\.json$/).includes("JSON"), JSON.stringify(found));
    assert.ok(
      forms(/process\.env/).some((form) => form.startsWith("base64 ")),
      JSON.stringify(found),
    );
    assert.ok(forms(/recording\.cast$/).includes("hex"), JSON.stringify(found));
    assert.ok(forms(/to the manager$/).includes("hex"), JSON.stringify(found));
  });
});

async function runWithTool(
  lab: Lab,
  api: { port: number; caPem: string },
  words: string[],
  script: string,
) {
  writePackage(path.join(lab.config, "leaky"), LEAKY_TOOL);
  addNode(path.join(lab.config, "leaky"));
  copyFileSync(
    path.join(repository, "test/fixtures/secret-hunter.ts"),
    path.join(lab.workspace, "secret-hunter.ts"),
  );
  const agent = lab.write("agent.yaml", anAgent(script, { tools: ["leaky"] }));
  const tool = lab.write("tool.yaml", aTool("leaky", reachApi(api)));
  const end = await lab.run([agent, tool, ...words]).ended;
  return { ...end, result: resultOf(end) };
}

/** What zone A saw, file by file, and every file of the data directory but the store of packages. */
function everyPlace(lab: Lab, run: string): Place[] {
  const hunted = readFileSync(path.join(lab.workspace, "hunted.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { where: string; base64: string })
    .map(({ where, base64 }) => ({
      where: `zone A: ${where}`,
      bytes: Buffer.from(base64, "base64"),
    }));
  const kept = readdirSync(lab.data, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => !file.includes("/store/"))
    .map((where) => ({ where, bytes: readFileSync(where) }));
  assert.ok(kept.some(({ where }) => where.endsWith(`${run}/recording.cast`)));
  assert.ok(kept.some(({ where }) => where.endsWith(`${run}/audit.jsonl`)));
  const files = readdirSync(lab.workspace, { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== "hunted.jsonl")
    .map((entry) => path.join(lab.workspace, entry.name))
    .map((where) => ({ where, bytes: readFileSync(where) }));
  return [...hunted, ...kept, ...files];
}

function search(places: Place[]): { where: string; form: string }[] {
  return places.flatMap(({ where, bytes }) =>
    findSecret(bytes, SECRET).map(({ form }) => ({ where, form })),
  );
}
