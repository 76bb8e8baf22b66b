import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  utimesSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { suite, test } from "node:test";
import { ToolCallResult } from "../../src/protocol/results.ts";
import { lastDocument, PreparedData } from "./prepared-data.ts";

const GREET = `
# a comment that does not travel
apiVersion: agentkube.io/v1alpha1
kind: Tool
metadata: { name: greet }
spec:
  description: Greets.
  package: ./package
  operations:
    - name: hello
      command: [./hello, "{{name}}"]
      inputSchema: { type: object, properties: { name: { type: string } }, additionalProperties: false }
---
apiVersion: v1
kind: Secret
metadata: { name: mine }
stringData: { token: this-secret-stays-at-home }
`;

function greet(data: PreparedData, name = "greet"): string {
  data.write(`${name}/tool.yaml`, GREET);
  chmodSync(data.write(`${name}/package/hello`, '#!/bin/sh\necho "hello $1"\n'), 0o755);
  data.write(`${name}/package/long/${"n".repeat(120)}/data`, "d");
  return join(data.root, name);
}

function program(name: string): string | false {
  const path = `/usr/bin/${name}`;
  return existsSync(path) ? path : false;
}

function sha256(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

suite("agentkube tool pack", () => {
  test("writes one file that is the tool, without secrets and places of this machine", async () => {
    using data = new PreparedData();
    const dir = greet(data);

    const packed = await data.run("tool", "pack", dir, "-o", "greet.tar", "--json");
    const call = await data.run(
      "tool",
      "call",
      "greet.tar",
      "hello",
      "--args",
      '{"name":"you"}',
      "--json",
    );
    const check = await data.run("tool", "check", "greet.tar");
    const list = await data.run("tool", "ls", "greet.tar");

    assert.equal(packed.code, 0, packed.stderr);
    assert.equal(ToolCallResult.parse(lastDocument(call)).stdout, "hello you\n");
    assert.equal(check.stdout, "OK  greet: hello\n", check.stderr);
    assert.match(list.stdout, /greet_hello/);
    const bytes = readFileSync(join(data.root, "greet.tar"), "latin1");
    for (const absent of ["this-secret-stays-at-home", data.root, "./package", "a comment"])
      assert.equal(bytes.includes(absent), false, absent);
    assert.deepEqual(
      readdirSync(data.root).filter((name) => name.startsWith(".")),
      [],
    );
  });

  test("writes the same bytes for the same input, wherever and whenever it is", async () => {
    using data = new PreparedData();
    const [one, other] = [greet(data), greet(data, "elsewhere/other")];
    utimesSync(join(other, "package/hello"), 1, 1);
    chmodSync(join(other, "package/hello"), 0o700);

    await data.run("tool", "pack", one, "-o", "one.tar");
    await data.run("tool", "pack", other, "-o", "other.tar");
    data.write("elsewhere/other/package/hello", "#!/bin/sh\nchanged\n");
    await data.run("tool", "pack", other, "-o", "changed.tar");

    assert.equal(sha256(join(data.root, "one.tar")), sha256(join(data.root, "other.tar")));
    assert.notEqual(sha256(join(data.root, "one.tar")), sha256(join(data.root, "changed.tar")));
  });

  test("refuses what would not run, and a place it cannot write to, and leaves nothing", async () => {
    using data = new PreparedData();
    const dir = greet(data);
    const bad = data.write(
      "bad.yaml",
      GREET.replace("./package", "./greet/package").replace("./hello", "./missing"),
    );

    const wrong = await data.run("tool", "pack", bad, "-o", "bad.tar");
    const nowhere = await data.run("tool", "pack", dir, "-o", "no/such/place.tar");
    const directory = await data.run("tool", "pack", dir, "-o", dir);

    assert.deepEqual([wrong.code, nowhere.code, directory.code], [2, 1, 1]);
    assert.match(wrong.stderr, /"\/opt\/tool\/missing" does not exist/);
    assert.match(nowhere.stderr, /Cannot write/);
    assert.match(directory.stderr, /is a directory/);
    assert.deepEqual(
      readdirSync(data.root).filter((name) => /\.tar|agentkube-pack/.test(name)),
      [],
    );
  });

  test("packs a root file system so that it is the tool's root again", async () => {
    using data = new PreparedData();
    const dir = greet(data);
    const sh = realpathSync("/bin/sh");
    const libraries =
      execFileSync("/usr/bin/ldd", [sh], { encoding: "utf8" }).match(/\/\S+/g) ?? [];
    for (const path of [sh, ...libraries]) {
      mkdirSync(dirname(join(dir, "package/rootfs", path)), { recursive: true });
      copyFileSync(path, join(dir, "package/rootfs", path));
    }
    mkdirSync(join(dir, "package/rootfs/bin"), { recursive: true });
    copyFileSync(sh, join(dir, "package/rootfs/bin/sh"));
    data.write("greet/package/rootfs/etc/release", "own\n");

    await data.run("tool", "pack", dir, "-o", "greet.tar");
    const call = await data.run(
      "tool",
      "call",
      "greet.tar",
      "hello",
      "--args",
      '{"name":"root"}',
      "--json",
    );

    assert.equal(
      ToolCallResult.parse(lastDocument(call)).stdout,
      "hello root\n",
      call.stdout + call.stderr,
    );
  });

  test(
    "skopeo reads and copies it",
    { skip: program("skopeo") === false && "skopeo is not installed" },
    async () => {
      using data = new PreparedData();
      await data.run("tool", "pack", greet(data), "-o", "greet.tar");
      const skopeo = (...words: string[]): string =>
        execFileSync("/usr/bin/skopeo", words, {
          cwd: data.root,
          encoding: "utf8",
          env: { HOME: data.root, PATH: "/usr/bin" },
        });

      const inspected = JSON.parse(skopeo("inspect", "oci-archive:greet.tar")) as {
        Labels: Record<string, string>;
      };
      skopeo("--insecure-policy", "copy", "oci-archive:greet.tar", "oci-archive:copy.tar");
      skopeo(
        "--insecure-policy",
        "copy",
        "--dest-compress",
        "oci-archive:greet.tar",
        "dir:unpacked",
      );
      skopeo("--insecure-policy", "copy", "dir:unpacked", "oci-archive:compressed.tar");

      assert.match(inspected.Labels["io.agentkube.tool"] ?? "", /"name":"greet"/);
      for (const copy of ["copy.tar", "compressed.tar"]) {
        const call = await data.run(
          "tool",
          "call",
          copy,
          "hello",
          "--args",
          '{"name":"you"}',
          "--json",
        );
        assert.equal(ToolCallResult.parse(lastDocument(call)).stdout, "hello you\n", call.stdout);
      }
    },
  );

  test(
    "podman loads it",
    { skip: program("podman") === false && "podman is not installed" },
    async (context) => {
      using data = new PreparedData();
      await data.run("tool", "pack", greet(data), "-o", "greet.tar");
      const podman = (...words: string[]): string =>
        execFileSync(
          "/usr/bin/podman",
          [
            "--root",
            join(data.root, "containers"),
            "--runroot",
            join(data.root, "run"),
            "--storage-driver",
            "vfs",
            ...words,
          ],
          {
            cwd: data.root,
            encoding: "utf8",
            env: { HOME: data.root, PATH: "/usr/bin:/usr/sbin:/bin:/sbin" },
            stdio: "pipe",
          },
        );
      try {
        podman("info");
      } catch (error) {
        return context.skip(
          `podman does not work here: ${String((error as { stderr?: unknown }).stderr).slice(0, 200)}`,
        );
      }

      const loaded = podman("load", "--input", "greet.tar");
      const pulled = podman("pull", "oci-archive:greet.tar");
      const labels = podman(
        "image",
        "inspect",
        "localhost/greet:latest",
        "--format",
        '{{index .Labels "io.agentkube.tool.root"}}',
      );

      assert.match(loaded, /greet/);
      assert.match(pulled, /[0-9a-f]{64}/);
      assert.equal(labels.trim(), "host");
    },
  );
});
