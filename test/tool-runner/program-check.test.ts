import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { checkProgram } from "../../src/tool-runner/program-check.ts";
import { lookUp, viewOf } from "../../src/tool-runner/sandbox-view.ts";
import { temporaryDirectory } from "./support.ts";

function write(path: string, content: string | Buffer, mode = 0o755): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content, { mode });
}

/** A package, and what `checkProgram` says of a file in it that holds `content`. */
function aPackage(context: TestContext): {
  dir: string;
  problemOf: (content: string | Buffer) => string;
} {
  const dir = temporaryDirectory(context);
  return {
    dir,
    problemOf: (content) => {
      write(join(dir, "program"), content);
      return checkProgram(viewOf(dir), "/opt/tool/program")?.problem ?? "";
    },
  };
}

suite("a program of a tool, looked at before it runs", () => {
  test("may be a script with an interpreter of the host's /usr", (context) => {
    const { problemOf } = aPackage(context);

    assert.equal(problemOf("#!/bin/sh\necho hi\n"), "");
    assert.equal(problemOf("#! /bin/sh -e\n"), "");
    assert.equal(problemOf("#!/usr/bin/env sh\n"), "");
  });

  test("is refused when its interpreter is not in the sandbox", (context) => {
    const { problemOf } = aPackage(context);

    assert.match(
      problemOf("#!/opt/homebrew/bin/node\n"),
      /interpreter "\/opt\/homebrew\/bin\/node"/,
    );
    assert.match(problemOf("#!/usr/bin/env no-such-program\n"), /needs "no-such-program".*PATH/);
    assert.match(problemOf("#!/bin/sh\r\necho hi\r\n"), /carriage return/);
    assert.match(problemOf("#!bin/sh\n"), /not an absolute path/);
    assert.match(problemOf("echo hi\n"), /neither an ELF program nor a script/);
    assert.match(problemOf(""), /neither an ELF program nor a script/);
  });

  test("is refused when it was built for another machine", (context) => {
    const { problemOf } = aPackage(context);
    const own = readFileSync(realpathSync("/bin/sh"));
    const foreign = Buffer.from(own);
    foreign.writeUInt16LE(process.arch === "arm64" ? 62 : 183, 18);
    const narrow = Buffer.from(own);
    narrow[4] = 1;

    assert.equal(problemOf(own), "");
    assert.match(problemOf(foreign), /is a program for (?:arm64|x86-64), and this machine is/);
    assert.match(problemOf(narrow), /and this machine is/);
    assert.match(problemOf(own.subarray(0, 32)), /broken ELF/);
  });

  test("is refused when its loader is not in the root file system", (context) => {
    const { dir } = aPackage(context);
    write(join(dir, "rootfs/bin/sh"), readFileSync(realpathSync("/bin/sh")));

    const problem = checkProgram(viewOf(dir), "/bin/sh");

    assert.match(
      problem?.problem ?? "",
      /needs the loader "\/lib.*", which is not in the tool's sandbox/,
    );
  });

  test("with a root file system of its own finds nothing of the host", (context) => {
    const { dir } = aPackage(context);
    const sh = realpathSync("/bin/sh");
    const libraries =
      execFileSync("/usr/bin/ldd", [sh], { encoding: "utf8" }).match(/\/\S+/g) ?? [];
    for (const path of [sh, ...libraries]) {
      mkdirSync(dirname(join(dir, "rootfs", path)), { recursive: true });
      copyFileSync(path, join(dir, "rootfs", path));
    }
    mkdirSync(join(dir, "rootfs/bin"), { recursive: true });
    symlinkSync(sh, join(dir, "rootfs/bin/other"));
    write(join(dir, "script"), "#!/bin/other\n");
    write(join(dir, "python"), "#!/usr/bin/env python3\n");
    const view = viewOf(dir);

    assert.equal(checkProgram(view, "/bin/other"), null);
    assert.equal(checkProgram(view, "/opt/tool/script"), null);
    assert.match(checkProgram(view, "/opt/tool/python")?.problem ?? "", /needs "python3"/);
    assert.match(checkProgram(view, "/usr/bin/ls")?.fix ?? "", /root file system/);
  });

  test("is never looked for outside, whatever links say", (context) => {
    const { dir } = aPackage(context);
    mkdirSync(join(dir, "rootfs"), { recursive: true });
    symlinkSync("../../../../../../../../bin/sh", join(dir, "rootfs/up"));
    symlinkSync("loop", join(dir, "rootfs/loop"));
    const view = viewOf(dir);

    assert.equal(lookUp(view, "/up"), null);
    assert.equal(lookUp(view, "/loop"), null);
    assert.equal(lookUp(view, "/../../../../bin/sh"), null);
    assert.equal(lookUp(viewOf(null), "/etc/passwd"), null);
    assert.equal(lookUp(viewOf(null), "/usr/../root/.ssh"), null);
  });
});
