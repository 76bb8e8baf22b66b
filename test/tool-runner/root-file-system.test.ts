import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { storePackage } from "../../src/tool-runner/packages.ts";
import { runToolCall } from "../../src/tool-runner/run-tool-call.ts";
import { aRunner, aTool, never, temporaryDirectory } from "./support.ts";

/** A package whose `rootfs/` holds a shell, cat and ls with their libraries, and nothing else. */
function aRootedPackage(context: TestContext): string {
  const dir = temporaryDirectory(context);
  for (const name of ["sh", "cat", "ls"]) {
    const program = realpathSync(`/bin/${name}`);
    const libraries =
      execFileSync("/usr/bin/ldd", [program], { encoding: "utf8" }).match(/\/\S+/g) ?? [];
    for (const path of libraries) copy(path, join(dir, "rootfs", path));
    copy(program, join(dir, "rootfs/bin", name));
  }
  writeFileSync(join(dir, "rootfs/marker"), "the tool's own root\n");
  symlinkSync("/marker", join(dir, "rootfs/link"));
  writeFileSync(join(dir, "run"), '#!/bin/sh\ncat "$1" /opt/tool/data\n', { mode: 0o755 });
  writeFileSync(join(dir, "data"), "a file of the package\n");
  return dir;
}

function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
}

suite("a package with a root file system of its own", () => {
  test("is the sandbox's root, with the package's files at /opt/tool and nothing of the host", async (context) => {
    const source = aRootedPackage(context);
    const { dir } = await storePackage(source, join(temporaryDirectory(context), "store"));
    const runner = await aRunner(context, [
      aTool(
        {
          operations: [
            { name: "show", command: ["./run", "/link"] },
            { name: "list", command: ["/bin/ls", "/", "/usr", "/etc", "/root", "/home"] },
            { name: "write", command: ["/bin/sh", "-c", "echo x > /marker || echo x > /bin/new"] },
          ],
        },
        dir,
      ),
    ]);
    const call = (operation: string) =>
      runToolCall(runner, { tool: "box", operation, arguments: {}, face: "cli" }, never);

    const show = await call("show");
    const list = await call("list");
    const write = await call("write");

    assert.equal(show.stdout, "the tool's own root\na file of the package\n", show.stderr);
    assert.doesNotMatch(list.stdout, /\b(?:boot|share|ssl|alternatives|work)\b/);
    assert.notEqual(write.exitCode, 0);
    assert.match(write.stderr, /[Rr]ead-only/);
  });
});
