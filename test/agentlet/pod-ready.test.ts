import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, suite, test } from "node:test";
import { imageEnvironment, keyOfEnvironment } from "../../src/agentlet/image-environment.ts";
import {
  checkProgram,
  runnerAnswers,
  checkClock,
  checkWritable,
} from "../../src/agentlet/pod-ready.ts";
import { nativeProgram } from "../../src/kit/native.ts";
import { lastWordsAt, sayLastWords, takeBackLastWords } from "../../src/protocol/last-words.ts";

suite("what a run needs of its pod", () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(path.join(tmpdir(), "agentkube-ready-"));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  test("a clock five minutes off is taken, one further off is refused with how far and which way", () => {
    for (const ahead of [null, 0, 299_000, -299_000]) checkClock(ahead);
    assert.throws(() => checkClock(3 * 3_600_000), /180 min ahead of the manager's/);
    assert.throws(() => checkClock(-600_000), /10 min behind the manager's/);
  });

  test("a directory that can be written to is left as it was, one that is not there is named", () => {
    checkWritable(dir);
    assert.throws(() => checkWritable(path.join(dir, "none")), /none".*ENOENT/);
  });

  test("a program for another machine is refused by its header; scripts, others and none are not looked into", () => {
    const header = (machine: number, data = 1): Buffer => {
      const bytes = Buffer.alloc(64);
      bytes.writeUInt32BE(0x7f454c46, 0);
      bytes[4] = 2;
      bytes[5] = data;
      if (data === 1) bytes.writeUInt16LE(machine, 18);
      else bytes.writeUInt16BE(machine, 18);
      return bytes;
    };
    const file = (name: string, data: Buffer | string): string => {
      writeFileSync(path.join(dir, name), data, { mode: 0o755 });
      return path.join(dir, name);
    };
    const other = process.arch === "x64" ? 183 : 62;
    const own = process.arch === "x64" ? 62 : 183;
    checkProgram(file("own", header(own)), "");
    checkProgram(file("script", "#!/bin/sh\n"), "");
    checkProgram("no-such-program", dir);
    assert.throws(() => checkProgram(file("other", header(other)), ""), /is built for/);
    assert.throws(() => checkProgram("other", `/nowhere:${dir}`), /other" is built for/);
    assert.throws(() => checkProgram(file("big-endian", header(22, 2)), ""), /built for s390x/);
  });

  test("the tool-runner is waited for; what it says when it cannot serve is thrown, and taken back by the next one", async () => {
    const socket = path.join(dir, "runner.sock");
    const fault = { code: "secret_missing", message: "Cannot read it", path: "/x", fix: "make it" };
    sayLastWords(fault, socket);
    await assert.rejects(runnerAnswers(socket, AbortSignal.timeout(5000)), {
      ...fault,
      name: "PlatformError",
    });
    takeBackLastWords(socket);
    assert.equal(lastWordsAt(socket), null);
    const server = createServer();
    const answered = runnerAnswers(socket, AbortSignal.timeout(5000));
    server.listen(socket);
    await answered;
    server.close();
  });

  test("last words that make no sense are none, and a place that cannot be written to is no failure", () => {
    const socket = path.join(dir, "sub/x.sock");
    sayLastWords({ code: "x", message: "y" }, socket);
    assert.equal(lastWordsAt(socket), null);
    writeFileSync(path.join(dir, "fault.json"), "{");
    assert.equal(lastWordsAt(path.join(dir, "x.sock")), null);
    chmodSync(path.join(dir, "fault.json"), 0o600);
  });

  test("of its environment zone A gets the image's part: no name of ours, of Kubernetes, and not the key", () => {
    const env = {
      PATH: "/opt/cli/bin:/usr/bin",
      JAVA_HOME: "/opt/java",
      HOME: "/root",
      HOSTNAME: "pod",
      KUBERNETES_SERVICE_HOST: "10.0.0.1",
      AGENTKUBE_TOKEN_FILE: "/x",
      ANTHROPIC_API_KEY: "secret",
    };
    assert.deepEqual(imageEnvironment(env, "ANTHROPIC_API_KEY"), {
      PATH: "/opt/cli/bin:/usr/bin",
      JAVA_HOME: "/opt/java",
    });
  });

  test("what an image sets for its programs is put aside from ours and given back to the CLI", () => {
    const hostile = {
      PATH: "/opt/cli/bin",
      NODE_OPTIONS: "--require /evil.cjs",
      LD_PRELOAD: "/evil.so",
      MALLOC_ARENA_MAX: "8",
      HOME: "/root",
      AGENTKUBE_RUN_SPEC: "/etc/agentkube/run.json",
      AGENTKUBE_ASIDE_AGENTKUBE_TOKEN_FILE: "/evil",
      ANTHROPIC_API_KEY: "of the image",
    };
    const seen = execFileSync(
      nativeProgram("set-aside"),
      ["MALLOC_ARENA_MAX=2", process.execPath, "-p", "JSON.stringify(process.env)"],
      { env: hostile, encoding: "utf8" },
    );

    const ours = JSON.parse(seen) as Record<string, string>;
    assert.deepEqual(
      Object.entries(ours).filter(([name]) => !name.startsWith("AGENTKUBE_ASIDE")),
      Object.entries({
        MALLOC_ARENA_MAX: "2",
        PATH: hostile.PATH,
        HOME: hostile.HOME,
        AGENTKUBE_RUN_SPEC: hostile.AGENTKUBE_RUN_SPEC,
      }),
    );
    assert.deepEqual(imageEnvironment(ours, "ANTHROPIC_API_KEY"), {
      PATH: hostile.PATH,
      NODE_OPTIONS: hostile.NODE_OPTIONS,
      LD_PRELOAD: hostile.LD_PRELOAD,
      MALLOC_ARENA_MAX: "8",
    });
  });

  test("set-aside says what it cannot start, and what it expected", () => {
    const run = (...words: string[]): [number | null, string] => {
      const { status, stderr } = spawnSync(nativeProgram("set-aside"), words, { encoding: "utf8" });
      return [status, stderr.trim()];
    };

    assert.deepEqual(run("/no/program"), [
      127,
      "set-aside: /no/program: No such file or directory",
    ]);
    assert.deepEqual(run("A=1"), [2, "set-aside: expected [NAME=VALUE]... PROGRAM [ARGUMENT]..."]);
  });

  test("the key is the CLI's only with delivery env, and a Secret that is not there is named", () => {
    const variable = "ANTHROPIC_API_KEY";
    const aside = { AGENTKUBE_ASIDE: "1", [`AGENTKUBE_ASIDE_${variable}`]: "key" };

    assert.equal(keyOfEnvironment(aside, variable), Buffer.from("key").toString("base64"));
    assert.equal(
      keyOfEnvironment({ [variable]: "key" }, variable),
      Buffer.from("key").toString("base64"),
    );
    for (const env of [{}, { AGENTKUBE_ASIDE: "1", [variable]: "x" }, { [variable]: "" }])
      assert.throws(() => keyOfEnvironment(env, variable), {
        code: "secret_missing",
        message: /model key in ANTHROPIC_API_KEY/,
      });
  });
});
