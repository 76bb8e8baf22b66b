import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { suite, test } from "node:test";
import { pathToFileURL } from "node:url";
import { SMALL_HEAP } from "../../src/cli/node-options.ts";
import { repository } from "../helpers/lab.ts";

// Copies of the scripts in a directory of their own, with small C files, so that the checkout's build is left alone.

interface Checkout extends Disposable {
  dir: string;
  /** Runs a script with only these programs (links into the real PATH, or scripts) on PATH. */
  run(script: string, env?: Record<string, string>): { status: number | null; stderr: string };
  /** Puts a program on the PATH of this checkout. */
  program(name: string, text: string): void;
}

/** Says with what it was started, where it lies, and whether it runs as it is written. */
const PROGRAM = `import { answer } from "../answer.ts";
const form = new Error().stack?.includes("build/programs") ? "built" : "as written";
console.log(process.argv[2], answer, form, import.meta.url);
`;

function openCheckout(programs: string[]): Checkout {
  const dir = mkdtempSync(path.join(tmpdir(), "agentkube-setup-"));
  for (const name of ["scripts", "bin"])
    cpSync(path.join(repository, name), path.join(dir, name), { recursive: true });
  const native = path.join(dir, "src/native");
  mkdirSync(native, { recursive: true });
  for (const name of [
    "zone-init",
    "tool-spawner",
    "host-uid",
    "report",
    "copy-tree",
    "pod-zone",
    "set-aside",
  ])
    writeFileSync(
      path.join(native, `${name}.c`),
      '#include "common.h"\nint main(void) { return ANSWER; }\n',
    );
  writeFileSync(path.join(native, "common.h"), "#define ANSWER 42\n");
  writeFileSync(
    path.join(native, "addon.c"),
    "#include <node_api.h>\nint agentkube_addon(void);\nint agentkube_addon(void) { return (int) NAPI_AUTO_LENGTH; }\n",
  );
  mkdirSync(path.join(dir, "src/cli"));
  writeFileSync(path.join(dir, "src/cli/main.ts"), PROGRAM);
  writeFileSync(path.join(dir, "src/answer.ts"), "export const answer: number = 42;\n");
  const modules = path.join(dir, "node_modules");
  mkdirSync(modules);
  for (const name of [`node-linux-${process.arch}`, "esbuild", "@esbuild"])
    symlinkSync(path.join(repository, "node_modules", name), path.join(modules, name));
  writeFileSync(path.join(dir, "package-lock.json"), "{}");
  writeFileSync(path.join(modules, ".package-lock.json"), "{}");
  const bin = path.join(dir, "path");
  mkdirSync(bin);
  for (const name of programs) {
    const found = (process.env["PATH"] ?? "")
      .split(":")
      .map((entry) => path.join(entry, name))
      .find((file) => existsSync(file));
    assert.ok(found !== undefined, `${name} is not on PATH`);
    symlinkSync(found, path.join(bin, name));
  }
  return {
    dir,
    run(script, env = {}) {
      const { status, stderr } = spawnSync(process.execPath, [path.join(dir, "scripts", script)], {
        env: { PATH: bin, ...env },
        encoding: "utf8",
      });
      return { status, stderr };
    },
    program(name, text) {
      rmSync(path.join(bin, name), { force: true });
      writeFileSync(path.join(bin, name), text);
      chmodSync(path.join(bin, name), 0o755);
    },
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}

const COMPILER = ["cc", "as", "ld"];

suite("scripts/build-programs.mjs", () => {
  const say = (dir: string, verb = "ps") => {
    const words = [path.join(dir, "bin/agentkube.js"), verb];
    const { stdout, stderr } = spawnSync(process.execPath, words, { encoding: "utf8" });
    return `${stdout}${stderr}`.trim();
  };
  const place = (dir: string) => pathToFileURL(path.join(dir, "src/cli/main.ts")).href;

  test("builds each program once; it runs while its sources are what they were, and they run as they are written when not", () => {
    using checkout = openCheckout([]);
    const { dir } = checkout;

    const before = say(dir);
    const first = checkout.run("build-programs.mjs");
    const second = checkout.run("build-programs.mjs");
    const built = [say(dir), say(dir, "agentlet")];
    writeFileSync(path.join(dir, "src/answer.ts"), "export const answer: number = 1 + 42;\n");
    const changed = say(dir);
    const third = checkout.run("build-programs.mjs");

    assert.equal(before, `ps 42 as written ${place(dir)}`);
    assert.match(first.stderr, /built agentlet, session-recorder, .*, cli\n/);
    assert.deepEqual([second.status, second.stderr], [0, ""]);
    assert.deepEqual(built, [`ps 42 built ${place(dir)}`, `agentlet 42 built ${place(dir)}`]);
    assert.equal(changed, `ps 43 as written ${place(dir)}`);
    assert.equal(third.status, 0, third.stderr);
    assert.equal(say(dir), `ps 43 built ${place(dir)}`);
    // One description, one text and one cache of each: nothing of an earlier build is left.
    assert.equal(readdirSync(path.join(dir, "build/programs")).length, 6 * 3);
  });

  test("leaves `using` to V8: lowered, a later round of a loop would throw again what an earlier one threw", () => {
    using checkout = openCheckout([]);
    const { dir } = checkout;
    writeFileSync(
      path.join(dir, "src/answer.ts"),
      `export const answer: number = attempts();
function attempts(): number {
  for (let round = 1; round < 4; round += 1) {
    try {
      using held = { [Symbol.dispose](): void {} };
      if (round === 1) throw new Error("lost");
      return 40 + round;
    } catch {}
  }
  return -1;
}
`,
    );

    assert.equal(checkout.run("build-programs.mjs").status, 0);

    assert.equal(say(dir), `ps 42 built ${place(dir)}`);
  });

  test("a copy that keeps times runs what is built, from its own place; without that or with a torn file the sources run", () => {
    using checkout = openCheckout([]);
    assert.equal(checkout.run("build-programs.mjs").status, 0);
    const copy = path.join(checkout.dir, "copy");
    const parts = ["bin", "src", "build", "scripts", "node_modules", "package-lock.json"];
    for (const name of parts)
      cpSync(path.join(checkout.dir, name), path.join(copy, name), {
        recursive: true,
        verbatimSymlinks: true,
        preserveTimestamps: true,
      });

    assert.equal(say(copy), `ps 42 built ${place(copy)}`);
    writeFileSync(path.join(copy, "build/programs/cli.json"), "{");
    assert.equal(say(copy), `ps 42 as written ${place(copy)}`);
    utimesSync(path.join(copy, "src/answer.ts"), 1, 1);
    assert.equal(say(copy, "manager"), `manager 42 as written ${place(copy)}`);
  });

  test("a program that cannot be built says why", () => {
    using checkout = openCheckout([]);
    writeFileSync(path.join(checkout.dir, "src/answer.ts"), "export const = 1;\n");

    const { status, stderr } = checkout.run("build-programs.mjs");

    assert.equal(status, 1);
    assert.match(stderr, /src\/answer\.ts:1:13: ERROR/);
  });

  test("V8 takes the compiled code of every program under the options that it is started with", () => {
    const script = `
      import { compileProgram, PROGRAMS, readBuilt } from ${JSON.stringify(path.join(repository, "bin/built-program.js"))};
      const root = ${JSON.stringify(repository)};
      for (const name of process.argv.slice(1)) {
        const built = readBuilt(root, name);
        console.log(name, built === null || compileProgram(root, built.file, built.text, built.cache).isCompiled);
      }`;
    const taken = (options: readonly string[], names: string[]) =>
      spawnSync(
        process.execPath,
        [...options, "--input-type=module", "-e", script, "--", ...names],
        { encoding: "utf8" },
      ).stdout;

    const ofRun = taken(SMALL_HEAP, ["agentlet", "session-recorder", "tool-runner"]);
    const others = taken([], ["manager", "supervisor", "cli"]);

    assert.equal(ofRun, "agentlet true\nsession-recorder true\ntool-runner true\n");
    assert.equal(others, "manager true\nsupervisor true\ncli true\n");
  });
});

suite("scripts/build-native.mjs", () => {
  test("builds everything once, and again only what changed", () => {
    using checkout = openCheckout(COMPILER);
    const built = (name: string) => path.join(checkout.dir, "build", name);

    const first = checkout.run("build-native.mjs");
    const time = statSync(built("zone-init")).mtimeMs;
    const second = checkout.run("build-native.mjs");
    writeFileSync(
      path.join(checkout.dir, "src/native/tool-spawner.c"),
      "int main(void) { return 7; }\n",
    );
    const third = checkout.run("build-native.mjs");

    assert.equal(first.status, 0, first.stderr);
    assert.match(
      first.stderr,
      /built zone-init, tool-spawner, host-uid, report, copy-tree, pod-zone, set-aside, addon\.node/,
    );
    assert.deepEqual(second, { status: 0, stderr: "" });
    assert.match(third.stderr, /built tool-spawner\n/);
    assert.equal(statSync(built("zone-init")).mtimeMs, time);
    assert.equal(spawnSync(built("zone-init")).status, 42);
    assert.equal(spawnSync(built("tool-spawner")).status, 7);
    assert.deepEqual(
      readdirSync(path.join(checkout.dir, "build")).filter((name) => /\.\d+$/.test(name)),
      [],
    );
  });

  test("a changed header builds all programs again", () => {
    using checkout = openCheckout(COMPILER);
    checkout.run("build-native.mjs");

    writeFileSync(path.join(checkout.dir, "src/native/common.h"), "#define ANSWER 43\n");
    const { stderr } = checkout.run("build-native.mjs");

    assert.match(stderr, /zone-init, tool-spawner, host-uid, report/);
    assert.equal(spawnSync(path.join(checkout.dir, "build/zone-init")).status, 43);
  });

  test("without a compiler names the command that installs one", () => {
    using checkout = openCheckout([]);
    checkout.program("apt-get", "#!/bin/sh\n");

    const { status, stderr } = checkout.run("build-native.mjs");

    assert.equal(status, 1);
    assert.match(stderr, /C compiler.*apt-get install .*gcc libc6-dev/s);
  });

  test("an error in a source is shown and leaves the last good program", () => {
    using checkout = openCheckout(COMPILER);
    checkout.run("build-native.mjs");

    writeFileSync(
      path.join(checkout.dir, "src/native/host-uid.c"),
      "int main(void) { return x; }\n",
    );
    const { status, stderr } = checkout.run("build-native.mjs");

    assert.equal(status, 1);
    assert.match(stderr, /host-uid.*undeclared/s);
    assert.equal(spawnSync(path.join(checkout.dir, "build/host-uid")).status, 42);
  });
});

suite("scripts/setup.mjs", () => {
  const bwrap = (version: string) => `#!/bin/sh\necho "bubblewrap ${version}"\n`;

  test("says nothing when there is nothing to do, also without a HOME", () => {
    using checkout = openCheckout(COMPILER);
    checkout.program("bwrap", bwrap("0.8.0"));
    checkout.run("build-native.mjs");
    checkout.run("build-programs.mjs");

    const done = checkout.run("setup.mjs");

    assert.deepEqual(done, { status: 0, stderr: "" });
  });

  test("installs dependencies when the lock file is newer, without install scripts, and remembers it", () => {
    using checkout = openCheckout([...COMPILER, "mkdir", "cat"]);
    checkout.program("bwrap", bwrap("0.11.0"));
    checkout.program(
      "npm",
      `#!/bin/sh\necho "$@" "cache=$npm_config_cache" >> '${checkout.dir}/npm-calls'\necho noise\n`,
    );
    writeFileSync(path.join(checkout.dir, "package-lock.json"), '{"changed": true}');
    rmSync(path.join(checkout.dir, "node_modules/.package-lock.json"));

    const first = checkout.run("setup.mjs", { HOME: "/nonexistent" });
    const second = checkout.run("setup.mjs", { HOME: "/nonexistent" });

    assert.equal(first.status, 0, first.stderr);
    assert.doesNotMatch(first.stderr, /noise/);
    assert.deepEqual(second, { status: 0, stderr: "" });
    const calls = readFileSync(path.join(checkout.dir, "npm-calls"), "utf8").trim().split("\n");
    assert.equal(calls.length, 1);
    assert.match(
      calls[0] ?? "",
      /^ci --ignore-scripts --no-audit --no-fund cache=\/.*agentkube-npm-/,
    );
  });

  test("shows what npm said when it fails", () => {
    using checkout = openCheckout(COMPILER);
    checkout.program("npm", "#!/bin/sh\necho the registry is away >&2\nexit 1\n");
    rmSync(path.join(checkout.dir, "node_modules/.package-lock.json"));

    const { status, stderr } = checkout.run("setup.mjs");

    assert.equal(status, 1);
    assert.match(stderr, /the registry is away/);
  });

  test("an old bubblewrap: installed by root, named to others", () => {
    using checkout = openCheckout([...COMPILER, "cp"]);
    checkout.program("bwrap", bwrap("0.4.1"));
    checkout.program(
      "apt-get",
      `#!/bin/sh\nif [ "$1" = install ]; then printf '#!/bin/sh\\necho bubblewrap 0.9.0\\n' > '${checkout.dir}/path/bwrap'; fi\n`,
    );

    const { status, stderr } = checkout.run("setup.mjs");

    if (process.getuid?.() === 0) {
      assert.equal(status, 0, stderr);
      assert.match(stderr, /installed bubblewrap 0\.9\.0/);
    } else {
      assert.equal(status, 1);
      assert.match(
        stderr,
        /bubblewrap 0\.8 or newer, found bubblewrap 0\.4\.1; install it: sudo .*apt-get install/,
      );
    }
  });
});
