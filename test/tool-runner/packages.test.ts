import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { entriesOfPackage, storePackage } from "../../src/tool-runner/packages.ts";
import { temporaryDirectory } from "./support.ts";

function aPackage(context: TestContext): { source: string; store: string; root: string } {
  const root = temporaryDirectory(context);
  const source = join(root, "source");
  mkdirSync(join(source, "lib", "empty"), { recursive: true });
  writeFileSync(join(source, "run"), "#!/bin/sh\necho hi\n", { mode: 0o755 });
  writeFileSync(join(source, "lib", "data"), "data");
  symlinkSync("../run", join(source, "lib", "link"));
  const store = join(root, "store");
  return { source, store, root };
}

suite("entriesOfPackage", () => {
  for (const name of [".wh.run", "lib/.wh..wh..opq", "rootfs/.wh.a/sh"]) {
    test(`refuses a name that an image takes for a removal: ${name}`, async (context) => {
      const { source } = aPackage(context);
      assert.equal((await entriesOfPackage(source)).length, 5);

      mkdirSync(dirname(join(source, name)), { recursive: true });
      writeFileSync(join(source, name), "");

      await assert.rejects(entriesOfPackage(source), /says that a file is removed/);
    });
  }
});

suite("storePackage", () => {
  test("copies by digest, read-only, and again into the same place", async (context) => {
    const { source, store } = aPackage(context);

    const first = await storePackage(source, store);
    const again = await storePackage(source, store);

    assert.deepEqual(again, first);
    assert.equal(first.dir, join(store, first.digest.replace(":", "-")));
    assert.deepEqual(readdirSync(store), [first.digest.replace(":", "-")]);
    assert.equal(lstatSync(join(first.dir, "run")).mode & 0o777, 0o555);
    assert.equal(lstatSync(join(first.dir, "lib", "data")).mode & 0o777, 0o444);
    assert.equal(lstatSync(first.dir).mode & 0o777, 0o555);
    assert.equal(readFileSync(join(first.dir, "lib", "link"), "utf8"), "#!/bin/sh\necho hi\n");
  });

  test("has a digest of paths, executable bits and bytes alone", async (context) => {
    const { source, store, root } = aPackage(context);
    const before = await storePackage(source, store);
    const copy = join(root, "copy");
    cpSync(source, copy, { recursive: true, verbatimSymlinks: true });
    chmodSync(join(copy, "lib", "data"), 0o600);

    assert.equal((await storePackage(copy, store)).digest, before.digest);
    chmodSync(join(copy, "lib", "data"), 0o755);
    const executable = await storePackage(copy, store);
    writeFileSync(join(copy, "lib", "data"), "datA");
    const changed = await storePackage(copy, store);
    assert.equal(new Set([before.digest, executable.digest, changed.digest]).size, 3);
  });

  test("replaces a copy that is not what its name says", async (context) => {
    const { source, store } = aPackage(context);
    const { dir } = await storePackage(source, store);
    chmodSync(join(dir, "run"), 0o755);
    writeFileSync(join(dir, "run"), "#!/bin/sh\nevil\n");

    await storePackage(source, store);

    assert.equal(readFileSync(join(dir, "run"), "utf8"), "#!/bin/sh\necho hi\n");
  });

  for (const [name, spoil, message] of [
    [
      "an absolute link",
      (source: string) => symlinkSync("/bin/sh", join(source, "bad")),
      /leaves the package/,
    ],
    [
      "a link that climbs out",
      (source: string) => symlinkSync("../../../../bin/sh", join(source, "lib", "bad")),
      /leaves the package/,
    ],
    [
      "a link to nowhere",
      (source: string) => symlinkSync("nothing", join(source, "bad")),
      /leads nowhere/,
    ],
    [
      "2 GB before it reads them",
      (source: string) => {
        writeFileSync(join(source, "bad"), "");
        truncateSync(join(source, "bad"), 2_000_000_000);
      },
      /larger than 1999999999 bytes \(2 GB\)/,
    ],
    ["a FIFO", (source: string) => execFileSync("mkfifo", [join(source, "bad")]), /neither a file/],
  ] as const) {
    test(`refuses ${name} and leaves nothing behind`, async (context) => {
      const { source, store } = aPackage(context);
      spoil(source);

      await assert.rejects(
        storePackage(source, store),
        (error: Error) => message.test(error.message) && error.message.includes("/bad"),
      );

      assert.deepEqual(readdirSync(store), []);
    });
  }

  test("keeps the links of a root file system as they are, and follows none", async (context) => {
    const { source, store } = aPackage(context);
    mkdirSync(join(source, "rootfs", "etc"), { recursive: true });
    symlinkSync("/usr/bin", join(source, "rootfs", "bin"));
    symlinkSync("../../../../../../etc/shadow", join(source, "rootfs", "etc", "shadow"));

    const { dir } = await storePackage(source, store);

    assert.equal(readlinkSync(join(dir, "rootfs", "bin")), "/usr/bin");
    assert.equal(lstatSync(join(dir, "rootfs", "etc", "shadow")).isSymbolicLink(), true);
  });

  test("names a package that is missing", async (context) => {
    const { store, root } = aPackage(context);
    mkdirSync(store);

    await assert.rejects(storePackage(join(root, "none"), store), {
      code: "package_missing",
      path: join(root, "none"),
    });
  });
});
