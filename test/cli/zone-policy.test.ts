import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import {
  listeningSockets,
  mountBinds,
  readListeningSockets,
  readOnlyCovers,
  refuseMovableWorkspace,
  refuseOverlaps,
  refuseSockets,
  resolveWorkspace,
} from "../../src/cli/zone-policy.ts";

let dir = "";
before(() => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), "agentkube-zone-")));
});
after(() => rmSync(dir, { recursive: true, force: true }));

suite("refuseOverlaps", () => {
  const table: [workspace: string, guarded: string, relation: string | null][] = [
    ["/home/u/work", "/home/u/.local/state/agentkube", null],
    ["/home/u", "/home/u/.local/state/agentkube", "contains"],
    ["/home/u/data", "/home/u/data", "is"],
    ["/home/u/data/runs", "/home/u/data", "lies in"],
    ["/home/u/data2", "/home/u/data", null],
    ["/home/u/dat", "/home/u/data", null],
    ["/", "/home/u/data", "contains"],
  ];
  for (const [workspace, guarded, relation] of table)
    test(`${workspace} ${relation ?? "has nothing to do with"} ${guarded}`, () => {
      const refuse = (): void =>
        refuseOverlaps(
          [{ what: "workspace", path: workspace }],
          [{ what: "data directory", path: guarded }],
        );

      if (relation === null) return refuse();
      assert.throws(refuse, (error: Error & { code?: string }) => {
        assert.equal(error.code, "policy");
        for (const part of [workspace, guarded, relation]) assert.ok(error.message.includes(part));
        return true;
      });
    });

  test("a secret file says so", () => {
    const secret = [{ what: "secret file", path: "/w/token" }];

    assert.throws(() => refuseOverlaps([{ what: "mount", path: "/w" }], secret), {
      code: "secret_exposed",
    });
  });
});

suite("listening sockets", () => {
  test("are those that accept connections and have a path", () => {
    const table = [
      "Num       RefCount Protocol Flags    Type St Inode Path",
      "000000000111a375: 00000003 00000000 00000000 0001 03  1652",
      "0000000097414f95: 00000002 00000000 00010000 0001 01 20001 /run/docker.sock",
      "0000000097414f96: 00000003 00000000 00000000 0001 03 20002 /run/docker.sock",
      "0000000097414f97: 00000002 00000000 00010000 0001 01 20003 @abstract",
      "0000000097414f98: 00000002 00000000 00010000 0005 01 20004 /tmp/with blank/s",
    ].join("\n");

    assert.deepEqual(listeningSockets(table), ["/run/docker.sock", "/tmp/with blank/s"]);
  });

  test("a real one is found below a directory, through a link, and only while it listens", async () => {
    const place = join(dir, "sockets");
    mkdirSync(place);
    symlinkSync(place, join(dir, "link"));
    const server = createServer().listen(join(dir, "link", "s"));
    await once(server, "listening");

    const candidate = [{ what: "workspace", path: place }];
    assert.throws(() => refuseSockets(candidate, readListeningSockets()), /listens on the socket/);

    server.close();
    await once(server, "close");
    refuseSockets(candidate, readListeningSockets());
  });
});

suite("resolveWorkspace", () => {
  test("follows links", () => {
    mkdirSync(join(dir, "real"));
    symlinkSync(join(dir, "real"), join(dir, "workspace"));

    assert.equal(resolveWorkspace("workspace", dir), join(dir, "real"));
  });

  for (const path of ["/", "/usr", "/etc", "/tmp", "/home", "/proc/self", "/dev/shm", "/run"])
    test(`refuses ${path}`, () => {
      assert.throws(() => resolveWorkspace(path, "/"), { code: "policy" });
    });

  test("refuses what is missing, and what is no directory", () => {
    writeFileSync(join(dir, "file"), "");

    assert.throws(() => resolveWorkspace("absent", dir), { code: "usage" });
    assert.throws(() => resolveWorkspace("file", dir), { code: "usage" });
  });
});

suite("mountBinds", () => {
  test("a mount of HOME is seen at its own path and in the agent's HOME", () => {
    mkdirSync(join(dir, "home/.cargo"), { recursive: true });
    const home = join(dir, "home");

    assert.deepEqual(mountBinds([{ path: "~/.cargo", mode: "ro" }], home), [
      { source: join(home, ".cargo"), target: join(home, ".cargo"), mode: "ro" },
      { source: join(home, ".cargo"), target: "/home/agent/.cargo", mode: "ro" },
    ]);
  });

  test("a link is bound by what it points to", () => {
    mkdirSync(join(dir, "target"));
    symlinkSync(join(dir, "target"), join(dir, "pointer"));

    assert.deepEqual(mountBinds([{ path: join(dir, "pointer"), mode: "rw" }], "/nobody"), [
      { source: join(dir, "target"), target: join(dir, "pointer"), mode: "rw" },
    ]);
  });

  test("refuses relative paths, missing ones and the system's", () => {
    for (const path of ["relative", join(dir, "absent"), "/etc", "/proc/1"])
      assert.throws(() => mountBinds([{ path, mode: "ro" }], "/nobody"));
  });
});

suite("refuseMovableWorkspace", () => {
  for (const [source, mode, refused] of [
    ["/home/u/work", "rw", true],
    ["/home/u/work", "ro", false],
    ["/home/u/work/site", "rw", false],
    ["/home/u/work/site/lib", "rw", false],
    ["/home/u/wor", "rw", false],
  ] as const)
    test(`a workspace /home/u/work/site with ${source} mounted ${mode} is ${refused ? "refused" : "fine"}`, () => {
      const refuse = (): void =>
        refuseMovableWorkspace("/home/u/work/site", [{ source, target: source, mode }]);

      if (refused) assert.throws(refuse, { code: "policy" });
      else refuse();
    });
});

suite("readOnlyCovers", () => {
  const at = (path: string) => ({ source: path, target: path });

  test("cover what lies in a writable place, once, and nothing else", () => {
    const inside = join(dir, "agent.yaml");
    writeFileSync(inside, "");

    assert.deepEqual(readOnlyCovers([inside, inside, "/etc/hostname"], [at(dir)]), [
      { source: inside, target: inside, mode: "ro" },
    ]);
  });

  test("pin the way to what lies deeper, outer directories first, and nothing twice", () => {
    const deep = join(dir, "a/b/tool.yaml");
    mkdirSync(join(dir, "a/b/package/sub"), { recursive: true });
    writeFileSync(deep, "");

    const covers = readOnlyCovers(
      [join(dir, "a/b/package/sub"), deep, join(dir, "a/b/package")],
      [at(dir)],
    );

    assert.deepEqual(
      covers.map(({ target, mode }) => [target.slice(dir.length), mode]),
      [
        ["/a", "rw"],
        ["/a/b", "rw"],
        ["/a/b/package", "ro"],
        ["/a/b/tool.yaml", "ro"],
      ],
    );
  });

  test("a workspace that is our own installation is refused", () => {
    assert.throws(() => readOnlyCovers([dir], [at(dir)]), { code: "policy" });
  });

  test("a mount that is seen at two paths is covered at both", () => {
    const inside = join(dir, "twice.yaml");
    writeFileSync(inside, "");

    assert.deepEqual(
      readOnlyCovers([inside], [at(dir), { source: dir, target: "/home/agent/p" }]),
      [
        { source: inside, target: "/home/agent/p/twice.yaml", mode: "ro" },
        { source: inside, target: inside, mode: "ro" },
      ].sort((left, right) => left.target.length - right.target.length),
    );
  });
});
