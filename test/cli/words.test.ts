import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { commands } from "../../src/cli/commands.ts";
import { dataWords, resolveDataDir } from "../../src/cli/data-dir.ts";
import { commandHelp } from "../../src/cli/help.ts";
import { parseWords } from "../../src/cli/parse-words.ts";
import { nearest } from "../../src/cli/suggest.ts";

const program = fileURLToPath(new URL("../../bin/agentkube.js", import.meta.url));

function agentkube(...words: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...words], (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr }),
    );
  });
}

suite("agentkube", () => {
  test("--help lists every verb for people and has an example", async () => {
    const { code, stdout } = await agentkube("--help");

    assert.equal(code, 0);
    for (const { name, hidden } of commands)
      assert.equal(new RegExp(`^  ${name} `, "m").test(stdout), hidden !== true, name);
    assert.match(stdout, /Example:/);
  });

  for (const [words, code, says] of [
    [["--version"], 0, /^\d+\.\d+\.\d+/],
    [["--version", "--json"], 0, /^\{"version":"\d+\.\d+\.\d+"\}\n$/],
    [["recording", "cat", "x.cast", "--json"], 2, /not a document/],
    [[], 2, /Usage/],
    [["rnu"], 2, /did you mean agentkube run\?/],
    [["--verson"], 2, /Unknown option --verson/],
    [["run", "--worksapce", "x"], 2, /did you mean --workspace\?/],
    [["run", "--goal"], 2, /--goal needs a value/],
    [["run", "--detach=yes"], 2, /takes no value/],
    [["run", "--goal", "a", "--goal", "b"], 2, /given twice/],
    [["ps", "extra"], 2, /Unexpected word "extra"/],
    [["attach"], 2, /attach RUN/],
    [["pod", "x"], 2, /Cannot read manifest "x"/],
  ] as const)
    test(`${words.join(" ")} ends with ${code}`, async () => {
      const end = await agentkube(...words);

      assert.equal(end.code, code);
      assert.match(end.stdout + end.stderr, says);
    });

  test("an error with --json is a document on stdout", async () => {
    const { stdout } = await agentkube("pod", "x", "--json");

    assert.equal(
      (JSON.parse(stdout) as { error: { code: string } }).error.code,
      "invalid_manifest",
    );
  });
});

suite("every verb", () => {
  for (const entry of commands)
    test(`${entry.name} has help with an example, and says the same in the table`, async () => {
      const command = await entry.load();

      assert.equal(command.name, entry.name);
      assert.equal(command.summary, entry.summary);
      assert.match(commandHelp(command), /Examples?:\n {2}\S/);
      assert.equal(parseWords(command, ["--help"]).help, true);
    });
});

test("a document larger than a pipe reaches a reader that is late, whole", () => {
  const script = `"$0" "$1" schema --json | (sleep 1; cat)`;

  const said = execFileSync("/bin/sh", ["-c", script, process.execPath, program]);

  assert.ok(said.length > 64 * 1024, `${said.length} bytes`);
  const { schemas } = JSON.parse(said.toString()) as { schemas: Record<string, unknown> };
  assert.ok(Object.hasOwn(schemas, "Tool"));
});

suite("nearest", () => {
  for (const [word, found] of [
    ["atach", "attach"],
    ["rec", "recording"],
    ["pr", "prune"],
    ["sotp", "stop"],
    ["ATTACH", "attach"],
    ["zzzzz", undefined],
  ] as const)
    test(word, () => assert.equal(nearest(word, ["attach", "recording", "prune", "stop"]), found));
});

suite("resolveDataDir", () => {
  const table: [given: string | undefined, env: Record<string, string>, dir: string][] = [
    ["d", { AGENTKUBE_DATA: "/e" }, "/cwd/d"],
    [undefined, { AGENTKUBE_DATA: "e", XDG_STATE_HOME: "/x" }, "/cwd/e"],
    [undefined, { XDG_STATE_HOME: "/x", HOME: "/h" }, "/x/agentkube"],
    [undefined, { XDG_STATE_HOME: "relative", HOME: "/h" }, "/h/.local/state/agentkube"],
    [undefined, { HOME: "/h" }, "/h/.local/state/agentkube"],
  ];
  for (const [given, env, dir] of table)
    test(`${given ?? "no --data"} with ${JSON.stringify(env)}`, () =>
      assert.equal(resolveDataDir(given, env, "/cwd"), dir));
});

suite("dataWords", () => {
  const env = { HOME: "/h" };

  test("are nothing for the usual directory", () =>
    assert.equal(dataWords("/h/.local/state/agentkube", env, "/cwd"), ""));

  test("name another one as a shell takes it", () => {
    for (const dir of ["/a/b", "/dä ta/it's $HOME", '/a"b`c']) {
      const words = dataWords(dir, env, "/cwd");

      const said = execFileSync("/bin/sh", ["-c", `printf %s ${words.replace("--data", "")}`]);
      assert.equal(said.toString(), dir);
    }
  });
});
