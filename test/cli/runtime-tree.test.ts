import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, suite, test } from "node:test";
import { findProgram, interpreterOf } from "../../src/cli/resolve-program.ts";
import { runtimeTreeOf } from "../../src/cli/runtime-tree.ts";
import { behindShim } from "../../src/cli/version-manager-shims.ts";

let home = "";
beforeEach(() => {
  home = realpathSync(mkdtempSync(join(tmpdir(), "agentkube-tree-")));
});
afterEach(() => rmSync(home, { recursive: true }));

function put(path: string, text: string, mode = 0o755): string {
  const full = join(home, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, text);
  chmodSync(full, mode);
  return full;
}

function link(path: string, target: string): string {
  const full = join(home, path);
  mkdirSync(dirname(full), { recursive: true });
  symlinkSync(target, full);
  return full;
}

/** The tree of `bin/NAME` of this HOME, with paths relative to it. */
function treeOf(name: string, path = join(home, "bin")) {
  const found = findProgram(name, `${path}:/usr/bin:/bin`, home);
  assert.ok(found !== null);
  const facts = { path: `${path}:/usr/bin:/bin`, neverWhole: [home, join(home, ".local")] };
  const tree = runtimeTreeOf(found, facts);
  const short = (each: string): string => each.replace(`${home}/`, "");
  return {
    program: short(tree.program),
    binds: tree.binds.map(({ source, target }) =>
      source === target ? short(target) : `${short(source)} at ${short(target)}`,
    ),
    path: tree.path.map(short),
    missing: tree.missing,
  };
}

suite("runtimeTreeOf", () => {
  test("a program of the system needs nothing", () => {
    assert.deepEqual(treeOf("sh"), { program: "/usr/bin/sh", binds: [], path: [], missing: [] });
  });

  test("a program outside any package is the file itself, never the directory it lies in", () => {
    put("share/claude/versions/2", "\u007FELF");
    link("bin/claude", "../share/claude/versions/2");

    assert.deepEqual(treeOf("claude").binds, ["share/claude/versions/2"]);
  });

  test("a package of npm is its own directory, and its interpreter the node of PATH", () => {
    put("bin/node", "\u007FELF");
    put("lib/node_modules/@a/cli/package.json", "{}");
    put("lib/node_modules/@a/cli/dist/main.js", "#!/usr/bin/env node\n");
    put("lib/node_modules/other/package.json", "{}");
    link("bin/cli", "../lib/node_modules/@a/cli/dist/main.js");

    assert.deepEqual(treeOf("cli"), {
      program: "lib/node_modules/@a/cli/dist/main.js",
      binds: ["lib/node_modules/@a/cli", "bin/node"],
      path: ["bin"],
      missing: [],
    });
  });

  test("packages that an installer put beside it belong to it, and theirs to them", () => {
    put(
      "p/node_modules/cli/package.json",
      `{"dependencies":{"a":"1"},"optionalDependencies":{"@x/native":"1"}}`,
    );
    put("p/node_modules/cli/main", "\u007FELF");
    put("p/node_modules/a/package.json", `{"dependencies":{"b":"1"}}`);
    put("p/node_modules/b/package.json", `{"dependencies":{"a":"1"}}`);
    put("p/node_modules/@x/native/package.json", "{}");
    put("p/node_modules/unrelated/package.json", "{}");
    link("bin/cli", "../p/node_modules/cli/main");

    assert.deepEqual(treeOf("cli").binds.toSorted(), [
      "p/node_modules/@x/native",
      "p/node_modules/a",
      "p/node_modules/b",
      "p/node_modules/cli",
    ]);
  });

  test("a Python tool is its virtual environment and its interpreter's prefix", () => {
    put("python/bin/python3.12", "\u007FELF");
    put("python/lib/python3.12/os.py", "");
    put("tools/aider/pyvenv.cfg", "");
    link("tools/aider/bin/python", join(home, "python/bin/python3.12"));
    put("tools/aider/bin/aider", `#!${home}/tools/aider/bin/python\n`);
    link("bin/aider", "../tools/aider/bin/aider");

    const { program, binds } = treeOf("aider");

    assert.equal(program, "tools/aider/bin/aider");
    assert.deepEqual(binds.toSorted(), ["python", "tools/aider"]);
  });

  test("HOME is never bound whole, whatever lies in it", () => {
    put("pyvenv.cfg", "");
    put("bin/tool", "\u007FELF");

    assert.deepEqual(treeOf("tool").binds, ["bin/tool"]);
  });

  test("an interpreter that is a link is there under both names", () => {
    put("deno/deno-2", "\u007FELF");
    link("bin/deno", "../deno/deno-2");
    put("script", "#!/usr/bin/env -S deno run\n");
    link("bin/tool", "../script");

    assert.deepEqual(treeOf("tool").binds, ["script", "deno/deno-2", "deno/deno-2 at bin/deno"]);
  });

  test("an interpreter that is not installed is named", () => {
    put("bin/tool", "#!/usr/bin/env no-such-interpreter\n");

    assert.deepEqual(treeOf("tool").missing, ["no-such-interpreter"]);
  });
});

suite("findProgram", () => {
  test("skips directories, files that are not executable and relative entries of PATH", () => {
    mkdirSync(join(home, "a/tool"), { recursive: true });
    put("b/tool", "", 0o644);
    const real = put("c/tool", "");

    const found = findProgram("tool", `.:${home}/a:${home}/b:${home}/c`, join(home, "c"));

    assert.deepEqual(found, { found: real, real });
    assert.equal(findProgram("tool", ".", join(home, "c")), null);
    assert.equal(findProgram("", "/usr/bin", "/"), null);
  });
});

suite("interpreterOf", () => {
  for (const [line, name] of [
    ["#!/bin/sh", "/bin/sh"],
    ["#! /usr/bin/python3 -u", "/usr/bin/python3"],
    ["#!/usr/bin/env node", "node"],
    ["#!/usr/bin/env -S node --flag", "node"],
    ["#!/usr/bin/env -i A=b python", "python"],
    ["\u007FELF", undefined],
    ["", undefined],
  ] as const)
    test(JSON.stringify(line), () => {
      assert.equal(interpreterOf(put("file", `${line}\nrest`))?.name, name);
    });
});

suite("behindShim", () => {
  const shim = (manager: string) =>
    `#!/usr/bin/env bash\nset -e\nprogram="\${0##*/}"\nexec "${manager}" exec "$program" "$@"\n`;

  test("asks the version manager what its shim would start", () => {
    const real = put(".pyenv/versions/3.12/bin/python3", "ELF");
    const manager = put(
      ".pyenv/libexec/pyenv",
      `#!/bin/sh\n[ "$*" = "which python3" ] && echo ${real}\n`,
    );
    const found = put(".pyenv/shims/python3", shim(manager));

    assert.deepEqual(behindShim({ found, real: found }), { found: real, real });
  });

  test("gives the shim back when the manager knows nothing, and never runs what is no shim", () => {
    const manager = put(".rbenv/libexec/rbenv", "#!/bin/sh\nexit 127\n");
    const found = put(".rbenv/shims/ruby", shim(manager));
    const other = put("bin/tool", shim("/bin/false"));

    assert.equal(behindShim({ found, real: found }).real, found);
    assert.equal(behindShim({ found: other, real: other }).real, other);
  });
});
