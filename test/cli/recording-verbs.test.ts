import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import { VerifyResult } from "../../src/protocol/results.ts";
import { lastDocument, PreparedData, recording, TERMINAL_BYTES } from "./prepared-data.ts";

suite("agentkube recording", () => {
  test("cat --raw of a run gives the very bytes of the terminal, cat the text", async () => {
    using data = new PreparedData();
    data.addRun("demo-1");

    const raw = await data.run("recording", "cat", "demo-1", "--raw");
    const text = await data.run("recording", "cat", "demo-1");

    assert.deepEqual(raw.bytes, TERMINAL_BYTES);
    assert.equal(text.stdout, TERMINAL_BYTES.toString("utf8"));
    assert.deepEqual([raw.code, text.code], [0, 0]);
  });

  test("verify accepts a whole recording and says its size and hash", async () => {
    using data = new PreparedData();
    data.addRun("demo-1");

    const end = await data.run("recording", "verify", "demo-1", "--json");

    const result = VerifyResult.parse(lastDocument(end));
    assert.deepEqual(
      { ...result, sha256: "" },
      {
        ok: true,
        events: result.events,
        bytes: recording().length,
        sha256: "",
        problems: [],
      },
    );
    assert.equal(end.code, 0);
  });

  test("verify finds a file that is right in itself but not what the manager recorded", async () => {
    using data = new PreparedData();
    const dir = data.addRun("demo-1");
    const shorter = recording()
      .toString("utf8")
      .replace(/\[.*"m".*\n/, "")
      .replace(/#pos.*\n/, "");
    writeFileSync(join(dir, "recording.cast"), shorter);

    const end = await data.run("recording", "verify", "demo-1", "--json");

    const result = VerifyResult.parse(lastDocument(end));
    assert.equal(result.ok, false);
    assert.match(result.problems[0]?.problem ?? "", /Manager recorded \d+ bytes/);
    assert.equal(end.code, 1);
  });

  test("verify names the line of each fault of a file", async () => {
    using data = new PreparedData();
    const lines = recording().toString("utf8").split("\n");
    lines[1] = '[0.1, "o"]';
    const file = data.write("torn.cast", lines.join("\n").slice(0, -5));

    const end = await data.run("recording", "verify", file, "--json");

    const result = VerifyResult.parse(lastDocument(end));
    assert.equal(result.ok, false);
    assert.ok(result.problems.some(({ line }) => line === 2));
    assert.equal(end.code, 1);
  });

  test("cat of a damaged file gives what comes before and fails with the line", async () => {
    using data = new PreparedData();
    const file = data.write(
      "bad.cast",
      '{"version":3,"term":{"cols":80,"rows":24}}\n[0, "o", "good"]\n[}\n',
    );

    const end = await data.run("recording", "cat", file);

    assert.equal(end.code, 1);
    assert.equal(end.stdout, "good");
    assert.match(end.stderr, /damaged at line 3/);
  });

  test("a live run gives its whole lines and is not verified yet", async () => {
    using data = new PreparedData();
    const pid = process.pid;
    const torn = recording().subarray(0, -20);
    data.addRun(
      "live-1",
      { phase: "running", endedAt: null, end: null, recording: null, supervisorPid: pid },
      torn,
    );

    const cat = await data.run("recording", "cat", "live-1", "--raw");
    const verify = await data.run("recording", "verify", "live-1", "--json");

    assert.deepEqual(cat.bytes, TERMINAL_BYTES);
    assert.equal(cat.code, 0);
    assert.equal(VerifyResult.parse(lastDocument(verify)).ok, false);
    assert.equal(verify.code, 3);
  });

  test("export makes v2, plain text and raw bytes, and leaves nothing half written", async () => {
    using data = new PreparedData();
    data.addRun("demo-1");
    const out = join(data.root, "out");

    const v2 = await data.run("recording", "export", "demo-1", "--format", "v2");
    const raw = await data.run("recording", "export", "demo-1", "--format", "raw", "-o", out);
    const text = await data.run("recording", "export", "demo-1", "--format", "txt");
    const bad = data.write("bad.cast", '{"version":3,"term":{"cols":80,"rows":24}}\n[}\n');
    const failed = await data.run("recording", "export", bad, "-o", join(data.root, "never"));

    const [header = "", event = ""] = v2.stdout.split("\n");
    assert.deepEqual(JSON.parse(header).version, 2);
    assert.equal(JSON.parse(event)[1], "o");
    assert.deepEqual(readFileSync(out), TERMINAL_BYTES);
    assert.equal(raw.code, 0);
    assert.equal(text.stdout, "red 日本\nbad\uFFFD\uFFFD\ndone\n");
    assert.equal(failed.code, 1);
    assert.deepEqual(
      readdirSync(data.root).filter((name) => name.startsWith("never")),
      [],
    );
  });

  test(
    "an export as v2 is played by Debian's asciinema, which cannot read v3",
    {
      skip: existsSync("/usr/bin/asciinema") ? false : "/usr/bin/asciinema is not installed",
    },
    async () => {
      using data = new PreparedData();
      data.addRun("demo-1");
      const file = join(data.root, "demo.cast");

      await data.run("recording", "export", "demo-1", "--format", "v2", "-o", file);
      // It plays to a terminal, which `script` gives it.
      const play = `asciinema play --speed 100 ${file}`;
      const played = execFileSync("script", ["-qec", play, "/dev/null"], { timeout: 20_000 });

      const text = TERMINAL_BYTES.toString("utf8").replaceAll("\r", "");
      assert.ok(played.toString().replaceAll("\r", "").includes(text), played.toString());
    },
  );

  test("export refuses to write onto the recording itself", async () => {
    using data = new PreparedData();
    const file = data.write("own.cast", recording());

    const end = await data.run("recording", "export", file, "--format", "raw", "-o", file);

    assert.equal(end.code, 2);
    assert.deepEqual(readFileSync(file), recording());
  });

  test("plain text keeps every line that scrolled off, and joins wrapped ones", async () => {
    using data = new PreparedData();
    const lines = Array.from({ length: 3000 }, (_, at) =>
      `line ${at} ${"x".repeat((at * 7) % 200)}`.trimEnd(),
    );
    const events = lines.map((line) => JSON.stringify([0, "o", `${line}\r\n`]));
    const file = data.write(
      "long.cast",
      `{"version":3,"term":{"cols":80,"rows":24}}\n${events.join("\n")}\n`,
    );

    const end = await data.run("recording", "export", file, "--format", "txt");

    assert.deepEqual(end.stdout.trimEnd().split("\n"), lines);
  });

  test("play keeps the recording's own time, divided by the speed", async () => {
    using data = new PreparedData();
    const cast =
      '{"version":3,"term":{"cols":80,"rows":24}}\n[0, "o", "a"]\n[3, "o", "b"]\n[600, "o", "c"]\n';
    const file = data.write("slow.cast", cast);

    const startedAt = performance.now();
    const end = await data.run("recording", "play", file, "--speed", "10", "--idle-limit", "3s");

    const tookMs = performance.now() - startedAt;
    assert.equal(end.stdout, "abc");
    assert.ok(tookMs > 600 && tookMs < 20_000, `took ${tookMs} ms`);
  });

  test("on a person's terminal nothing that is shown asks it anything or writes its clipboard; in a pipe is every byte", async () => {
    using data = new PreparedData();
    const odd = "<\u001B]5\u00012;c;aGFja2Vk\u0007\u001B[c\u009B6n>";
    const file = data.write(
      "odd.cast",
      `{"version":3,"term":{"cols":80,"rows":24}}\n${JSON.stringify([0, "o", odd])}\n`,
    );
    const main = new URL("../../src/cli/main.ts", import.meta.url).pathname;
    // `script` gives a terminal; without one the bytes are for a program.
    const shown = (verb: string): string =>
      execFileSync(
        "script",
        ["-qec", `"${process.execPath}" "${main}" recording ${verb}`, "/dev/null"],
        { input: "", timeout: 30_000 },
      ).toString();

    const verbs = [`play "${file}"`, `play "${file}" </dev/null`, `cat "${file}"`];
    for (const verb of [...verbs, `cat --raw "${file}"`, `export --format raw "${file}"`]) {
      const text = shown(verb);
      assert.match(text, /<\u001B\]5;\u0007\0+\u001B\[o\u009B6o>/, verb);
      assert.doesNotMatch(text, /aGFja2Vk/, verb);
    }
    assert.doesNotMatch(shown(`export --format v2 "${file}"`), /\u009B6n/);
    assert.match(shown(`cat --raw "${file}"`), /add > FILE/);
    for (const verb of [["cat"], ["cat", "--raw"], ["export", "--format", "raw"]])
      assert.equal((await data.run("recording", ...verb, file)).stdout, odd);
  });

  test("a reader that leaves early is no failure", async () => {
    using data = new PreparedData();
    const event = `${JSON.stringify([0, "o", "x".repeat(60_000)])}\n`;
    const file = data.write(
      "big.cast",
      `{"version":3,"term":{"cols":80,"rows":24}}\n${event.repeat(100)}`,
    );
    const main = new URL("../../src/cli/main.ts", import.meta.url).pathname;
    const line = `"${process.execPath}" "${main}" recording cat "${file}" | head -c 1; echo " \${PIPESTATUS[0]}"`;

    const child = spawn("bash", ["-c", line], { stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
    await once(child, "close");

    assert.equal(said.trim(), "x 0");
  });

  test("ls lists recordings with size and whether they are verified", async () => {
    using data = new PreparedData();
    data.addRun("demo-1");
    data.addRun("demo-2", { recording: null });

    const table = await data.run("recording", "ls");
    const json = await data.run("recording", "ls", "--json");

    assert.match(table.stdout, /demo-1 .*verified/);
    assert.match(table.stdout, /demo-2 .*not sealed/);
    assert.equal((lastDocument(json)["recordings"] as unknown[]).length, 2);
  });

  test("takes a shell by RUN.SHELL, as ls names it: shown, played, exported, checked against the manager's record", async () => {
    using data = new PreparedData();
    data.addRun("demo-1");
    const path = data.addShell("demo-1", "00112233445566aa");
    const name = "demo-1.00112233445566aa";

    const listed = lastDocument(await data.run("recording", "ls", "--json")) as {
      recordings: { run: string; shell?: string; path: string; verified: boolean }[];
    };
    const table = await data.run("recording", "ls");
    const raw = await data.run("recording", "cat", name, "--raw");
    const played = await data.run("recording", "play", name, "--speed", "100");
    const exported = await data.run("recording", "export", name, "--format", "raw");
    const right = await data.run("recording", "verify", name, "--json");
    writeFileSync(path, recording().toString("latin1").replace("demo call", "demo lies"), "latin1");
    const wrong = await data.run("recording", "verify", name, "--json");

    assert.deepEqual(
      listed.recordings.map((each) => [each.run, each.shell, each.verified]),
      [
        ["demo-1", undefined, true],
        ["demo-1", "00112233445566aa", true],
      ],
    );
    assert.equal(listed.recordings[1]?.path, path);
    assert.match(table.stdout, /^demo-1\.00112233445566aa .* verified$/m);
    for (const { bytes } of [raw, exported]) assert.deepEqual(bytes, TERMINAL_BYTES);
    assert.match(played.stdout, /done/);
    assert.equal(VerifyResult.parse(lastDocument(right)).ok, true);
    assert.deepEqual([right.code, wrong.code], [0, 1]);
    assert.match(
      VerifyResult.parse(lastDocument(wrong)).problems[0]?.problem ?? "",
      /Manager recorded SHA-256/,
    );
  });

  test("says what is there when a shell is not, or was not sealed", async () => {
    using data = new PreparedData();
    data.addRun("demo-1");
    writeFileSync(join(data.addRun("demo-2"), "shells"), "not a directory");
    data.addShell("demo-1", "00112233445566aa", { recording: null });

    const other = await data.run("recording", "verify", "demo-1.ffffffffffffffff");
    const listed = await data.run("recording", "ls");
    const unsealed = await data.run("recording", "verify", "demo-1.00112233445566aa", "--json");

    assert.match(other.stderr, /Run "demo-1" has had no shell "ffffffffffffffff"/);
    assert.match(other.stderr, /agentkube shell demo-1 --list/);
    assert.match(listed.stderr, /Shells of run demo-2 left out: /);
    assert.match(listed.stdout, /^demo-1\.00112233445566aa .* not sealed$/m);
    assert.deepEqual([other.code, listed.code, unsealed.code], [2, 0, 1]);
    assert.match(
      VerifyResult.parse(lastDocument(unsealed)).problems[0]?.problem ?? "",
      /never sealed/,
    );
  });

  test("an unknown run names the ids near it, with exit code 2", async () => {
    using data = new PreparedData();
    data.addRun("demo-7f3k2m9q");

    const end = await data.run("recording", "cat", "demo-7f3k2m9");
    const file = await data.run("recording", "verify", "no/such.cast");

    assert.match(end.stderr, /Unknown run "demo-7f3k2m9"[^]*did you mean demo-7f3k2m9q/);
    assert.deepEqual([end.code, file.code], [2, 2]);
  });

  test("what other recorders wrote is read too", async (context) => {
    const fixtures = new URL("../../../shared/fixtures/asciicast/made-here/", import.meta.url);
    if (!existsSync(fixtures)) return context.skip("the recordings of other programs are not here");
    using data = new PreparedData();

    const v3 = await data.run(
      "recording",
      "export",
      new URL("a31-v3.cast", fixtures).pathname,
      "--format",
      "txt",
    );
    const v2 = await data.run(
      "recording",
      "verify",
      new URL("a22-v2.cast", fixtures).pathname,
      "--json",
    );

    assert.equal(v3.stdout, readFileSync(new URL("a31-txt.out", fixtures), "utf8"));
    assert.equal(lastDocument(v2)["ok"], true);
  });
});
