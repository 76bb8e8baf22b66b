import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { text } from "node:stream/consumers";
import timers from "node:timers/promises";
import { atEnd } from "../helpers/at-end.ts";
import { processesNaming } from "../helpers/processes.ts";
import { native } from "../../src/kit/native.ts";
import { processTree } from "../../src/kit/process-tree.ts";
import { setSandboxSearchPath } from "../../src/kit/bubblewrap-zone.ts";
import { type SandboxPlan, openSandbox } from "../../src/kit/sandbox.ts";

const never = new AbortController().signal;

function toolPlan(script: string, more: Partial<SandboxPlan> = {}): SandboxPlan {
  return {
    init: "tool-init",
    initArgs: [],
    argv: ["/bin/sh", "-c", script],
    hostname: "tool",
    network: "own",
    nestedUserNamespaces: false,
    readOnlyProc: true,
    root: { kind: "system" },
    binds: [],
    files: [],
    tmpfs: [{ path: "/tmp", bytes: 16 * 1024 * 1024 }],
    cwd: "/tmp",
    env: { PATH: "/usr/bin:/bin", HOME: "/tmp", LANG: "C.UTF-8" },
    processes: 64,
    seccomp: "tool",
    ...more,
  };
}

function zonePlan(more: Partial<SandboxPlan> = {}): SandboxPlan {
  const plan = toolPlan("", {
    init: "zone-init",
    argv: [],
    nestedUserNamespaces: true,
    readOnlyProc: false,
    seccomp: "zone",
  });
  return {
    ...plan,
    tmpfs: [...plan.tmpfs, { path: "/home/agent", bytes: 1 << 20 }],
    processes: 256,
    ...more,
  };
}

async function runTool(script: string, more: Partial<SandboxPlan> = {}) {
  await using sandbox = await openSandbox(
    toolPlan(script, more),
    { stdin: "ignore", stdout: "pipe", stderr: "pipe" },
    never,
  );
  const [stdout, stderr, exit] = await Promise.all([
    text(sandbox.stdout!),
    text(sandbox.stderr!),
    sandbox.toolExit,
  ]);
  return { stdout, stderr, exit };
}

/** Reads a PTY master until the program has ended and nothing is left. */
async function readTerminal(master: number, exited: Promise<unknown>): Promise<string> {
  const buffer = Buffer.alloc(65536);
  let output = "";
  let ended = false;
  void exited.then(() => (ended = true));
  for (;;) {
    const count = native().read(master, buffer, 0, buffer.length);
    if (count > 0) output += buffer.toString("utf8", 0, count);
    else if (count === -5 || (ended && count < 0)) return output;
    else await timers.setTimeout(5);
  }
}

async function runInZone(script: string, more: Partial<SandboxPlan> = {}) {
  await using zone = await openSandbox(
    zonePlan(more),
    { stdin: "ignore", stdout: "ignore", stderr: "pipe" },
    never,
  );
  const env = { PATH: "/usr/bin:/bin", HOME: "/home/agent", TERM: "xterm-256color" };
  const program = await zone.start({
    argv: ["/bin/sh", "-c", script],
    cwd: "/home/agent",
    env,
    cols: 90,
    rows: 30,
  });
  const output = await readTerminal(program.master, program.exited);
  return { output: output.replaceAll("\r\n", "\n"), exit: await program.exited };
}

suite("tool sandbox", () => {
  test("runs the tool and tells its exit code", async () => {
    const { stdout, exit } = await runTool("echo hello; exit 3");

    assert.equal(stdout, "hello\n");
    assert.deepEqual(exit, { kind: "exited", code: 3 });
  });

  test("tells a signal from an exit code", async () => {
    const { exit } = await runTool("kill -9 $$");

    assert.deepEqual(exit, { kind: "signalled", signal: "SIGKILL" });
  });

  test("names the step and the errno when the tool cannot start", async () => {
    const { exit } = await runTool("", { argv: ["/nonexistent/tool"] });

    assert.deepEqual(exit, { kind: "failed", errno: "ENOENT", step: "exec" });
  });

  test("shows no home, no host process, no network but loopback, and only its own environment", async () => {
    const { stdout } = await runTool(
      "ls /; ls /home /root 2>&1; env | sort; cat /proc/[0-9]*/comm; cat /proc/net/dev | tail -n +3 | cut -d: -f1",
    );

    assert.doesNotMatch(stdout, /\b(home|root|work|var|srv|boot)\n/);
    assert.doesNotMatch(stdout, /node\n|bwrap\n/);
    assert.match(stdout, /HOME=\/tmp\nLANG=C.UTF-8\nPATH=\/usr\/bin:\/bin\nPWD=\/tmp\n/);
    assert.match(stdout, /\n\s*lo\n$/);
  });

  test("is never the host's root", async () => {
    const { stdout } = await runTool("cat /proc/self/status");

    assert.match(stdout, /CapEff:\t0000000000000000/);
    assert.match(stdout, /NoNewPrivs:\t1/);
    await using sandbox = await openSandbox(
      toolPlan("sleep 30 & echo up; wait"),
      { stdin: "ignore", stdout: "pipe", stderr: "ignore" },
      never,
    );
    await once(sandbox.stdout!, "data");
    const { pids } = await processTree(sandbox.pid);
    assert.ok(pids.length >= 3, `tool-init, the tool and its child, got ${pids.length}`);
    for (const pid of pids) {
      const uid = Number(/Uid:\t(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
      assert.notEqual(uid, 0, `process ${pid} has the host's uid 0`);
    }
  });

  test("leaves nothing behind when the tool ends, setsid and double fork included", async () => {
    const marker = `sleep 4${process.pid}`;
    await runTool(`setsid ${marker} & (setsid ${marker} &) ; exit 0`);

    const all = (await processTree(1)).pids.map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      } catch {
        return "";
      }
    });
    assert.deepEqual(
      all.filter((line) => line.startsWith(marker)),
      [],
    );
  });

  test("refuses set-id modes, extended attributes, UNIX sockets and namespaces", async () => {
    const python = `
import os, socket, ctypes
def attempt(name, call):
    try: call(); print(name, "ALLOWED")
    except OSError as error: print(name, error.errno)
open("/tmp/f","w").close()
attempt("chmod", lambda: os.chmod("/tmp/f", 0o4755))
attempt("open", lambda: os.open("/tmp/g", os.O_CREAT|os.O_WRONLY, 0o4755))
attempt("mknod", lambda: os.mknod("/tmp/h", 0o106755))
attempt("setxattr", lambda: os.setxattr("/tmp/f", "user.x", b"1"))
attempt("unix", lambda: socket.socket(socket.AF_UNIX))
attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW))
libc = ctypes.CDLL(None, use_errno=True)
attempt("unshare", lambda: 0 if libc.unshare(0x10000000) == 0 else (_ for _ in ()).throw(OSError(ctypes.get_errno(), "")))
attempt("inet", lambda: socket.socket())
attempt("plain chmod", lambda: os.chmod("/tmp/f", 0o755))
`;
    const { stdout, stderr } = await runTool('exec python3 -c "$SCRIPT"', {
      env: { PATH: "/usr/bin:/bin", SCRIPT: python },
    });

    assert.equal(stderr, "");
    assert.equal(
      stdout,
      "chmod 1\nopen 1\nmknod 1\nsetxattr 95\nunix 1\nnetlink 1\nvsock 1\nraw 1\nunshare 1\ninet ALLOWED\nplain chmod ALLOWED\n",
    );
  });

  test("refuses memory that the watchdog could not see", async () => {
    const python = `
import os, ctypes
libc = ctypes.CDLL(None, use_errno=True)
try: os.memfd_create("m"); print("memfd ALLOWED")
except OSError as error: print("memfd", error.errno)
print("shmget", libc.shmget(0, 4096, 0o1600), ctypes.get_errno())
`;
    const { stdout } = await runTool('exec python3 -c "$SCRIPT"', {
      env: { PATH: "/usr/bin:/bin", SCRIPT: python },
    });

    assert.equal(stdout, "memfd 38\nshmget -1 38\n");
  });

  test("is refused when a link lies on the way to a bind that others may replace", async (context) => {
    const root = realpathSync(mkdtempSync(join(tmpdir(), "ak-link-")));
    atEnd(context, () => rmSync(root, { recursive: true }));
    mkdirSync(join(root, "secret/inner"), { recursive: true });
    mkdirSync(join(root, "place/real/inner"), { recursive: true });
    symlinkSync(join(root, "secret"), join(root, "place/link"));
    const rw = { source: join(root, "place"), target: "/place", mode: "rw" as const };
    const below = (name: string) => ({
      source: join(root, "place", name, "inner"),
      target: "/seen",
      mode: "ro" as const,
    });

    assert.equal((await runTool("ls -d /seen", { binds: [rw, below("real")] })).stdout, "/seen\n");
    for (const binds of [[rw, below("link")], [{ ...below("link"), exact: true as const }]])
      await assert.rejects(runTool("ls /seen", { binds }), {
        code: "sandbox_start_failed",
        path: join(root, "place/link/inner"),
      });
  });

  test("hands its loopback listener to us", async () => {
    const plan = toolPlan("exec 3<>/dev/tcp/127.0.0.1/3128; cat <&3", {
      initArgs: ["--listen", "3128"],
    });
    plan.argv[0] = "/bin/bash";
    await using sandbox = await openSandbox(
      plan,
      { stdin: "ignore", stdout: "pipe", stderr: "ignore" },
      never,
    );
    const server = createServer((socket) => socket.end("from the host"));
    server.listen({ fd: sandbox.listeners.get(3128)! });
    await once(server, "listening");

    assert.equal(await text(sandbox.stdout!), "from the host");
    server.close();
  });

  test("holds the number of processes and the size of every writable place", async () => {
    const python = `
import os, time
count = 0
try:
    while count < 100:
        if os.fork() == 0: time.sleep(30)
        count += 1
except OSError as error: print("refused", error.errno, count)
`;
    const { stdout } = await runTool(
      'python3 -c "$SCRIPT"; head -c 30000000 /dev/zero > /tmp/big 2>/dev/null || echo full; touch /new 2>/dev/null || echo ro-root; touch /dev/x 2>/dev/null || echo ro-dev',
      { processes: 20, env: { PATH: "/usr/bin:/bin", SCRIPT: python } },
    );

    assert.match(stdout, /^refused 11 1\d\nfull\nro-root\nro-dev\n$/);
  });

  test("is killed whole, also with a tool that ignores signals", async () => {
    const sandbox = await openSandbox(
      toolPlan("trap '' TERM INT; sleep 60 & wait"),
      { stdin: "ignore", stdout: "ignore", stderr: "ignore" },
      never,
    );
    await timers.setTimeout(100);
    const { pids } = await processTree(sandbox.pid);

    await sandbox.kill();

    for (const pid of pids) assert.throws(() => statSync(`/proc/${pid}/exe`));
    assert.deepEqual(await sandbox.toolExit, { kind: "lost" });
  });
});

suite("zone A", () => {
  test("says how to install bubblewrap when it is missing", async () => {
    setSandboxSearchPath("/nonexistent");
    try {
      await assert.rejects(
        openSandbox(zonePlan(), { stdin: "ignore", stdout: "ignore", stderr: "ignore" }, never),
        {
          code: "sandbox_unavailable",
          fix: /install bubblewrap/,
        },
      );
    } finally {
      setSandboxSearchPath("/usr/local/bin:/usr/bin:/bin");
    }
  });

  test("gives the program a terminal of the sandbox's own, as session leader", async () => {
    const { output, exit } = await runInZone(
      "tty; stty size; echo > /dev/tty; ps -o pid,sid,tty,stat -p $$ | tail -1; stty -a | grep -o -- '-\\?ixon'",
    );

    assert.match(output, /^\/dev\/pts\/0\n30 90\n\n/);
    assert.match(output, /\n\s*(\d+)\s+\1\s+pts\/0\s+Ss\+\n/);
    assert.match(output, /-ixon\n$/);
    assert.deepEqual(exit, { kind: "exited", code: 0 });
  });

  test("maps the owner of the workspace and leaves the owner on disk as it is", async (context) => {
    const workspace = mkdtempSync(join(tmpdir(), "ak-zone-"));
    atEnd(context, () => rmSync(workspace, { recursive: true }));
    chmodSync(workspace, 0o700);
    writeFileSync(join(workspace, "mine"), "old", { mode: 0o600 });
    const { output } = await runInZone(
      `cd ${workspace} && cat mine && echo new > made && chmod 4755 made; ls -n made | cut -d' ' -f1`,
      {
        binds: [{ source: workspace, target: workspace, mode: "rw" }],
      },
    );

    assert.match(output, /^old/);
    assert.match(output, /not permitted/);
    assert.match(output, /-rw-r--r--\n$/);
    assert.equal(statSync(join(workspace, "made")).uid, process.getuid?.());
  });

  test("cannot touch the host's kernel settings, and can nest a user namespace", async () => {
    const { output } = await runInZone(
      "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/kernel/hostname /proc/sys/vm/overcommit_memory; do (echo x > $f) 2>/dev/null && echo wrote $f; done; unshare -Ur id -u; bwrap --ro-bind / / --unshare-all true && echo nested",
    );

    assert.equal(output, "0\nnested\n");
  });

  test("cannot give a file of the workspace capabilities, not even from a user namespace of its own", async (context) => {
    const workspace = mkdtempSync(join(tmpdir(), "ak-zone-"));
    atEnd(context, () => rmSync(workspace, { recursive: true }));
    const script =
      "import os,struct; os.setxattr('program','security.capability',struct.pack('<5I',0x02000001,1<<21,0,0,0))";
    const { output } = await runInZone(
      `cd ${workspace} && cp /bin/true program && unshare -Ur python3 -c "${script}"`,
      {
        binds: [{ source: workspace, target: workspace, mode: "rw" }],
      },
    );

    assert.match(output, /Errno 95/);
  });

  test("cannot reach the memory of its init", async () => {
    const { output } = await runInZone(
      "cat /proc/1/environ 2>&1; (exec 3<>/proc/1/mem) 2>&1; ls /proc/1/fd 2>&1; kill -9 1; kill -STOP 1; sleep 0.1; echo alive",
    );

    assert.match(output, /Permission denied[\s\S]*Permission denied[\s\S]*Permission denied/);
    assert.match(output, /alive\n$/);
  });

  test("in the host's network reaches no abstract socket but its own", async (context) => {
    const name = `ak-abstract-${process.pid}`;
    const server = createServer((socket) => socket.end()).listen({ path: `\0${name}` });
    await once(server, "listening");
    atEnd(context, () => server.close());
    const python = `
import ctypes, socket
def attempt(name, path):
    try: socket.socket(socket.AF_UNIX).connect(path); print(name, "ALLOWED")
    except OSError as error: print(name, error.errno)
print("abi", ctypes.CDLL(None).syscall(444, None, 0, 1) >= 6)
attempt("theirs", "\\0${name}")
own = socket.socket(socket.AF_UNIX); own.bind("\\0${name}-own"); own.listen()
attempt("own", "\\0${name}-own")
`;
    const script = `cat > /tmp/a.py <<'END'\n${python}END\npython3 /tmp/a.py`;

    const open = await runInZone(script, { network: "host" });
    const scoped = await runInZone(script, {
      network: "host",
      initArgs: ["--abstract-sockets", "own"],
    });

    assert.match(open.output, /theirs ALLOWED\nown ALLOWED\n$/);
    if (!open.output.startsWith("abi True")) return context.skip("Landlock has no scopes here");
    assert.match(scoped.output, /theirs 1\nown ALLOWED\n$/);
  });

  test("puts files where the plan says, with their modes", async () => {
    const { output } = await runInZone(
      "stat -c %a /home/agent/.x/y; cat /home/agent/.x/y; echo more >> /home/agent/.x/y && id -un",
      {
        files: [{ path: "/home/agent/.x/y", data: Buffer.from("content\n"), mode: 0o600 }],
      },
    );

    assert.equal(output, "600\ncontent\nagent\n");
  });

  test("given up while it starts, at any moment, leaves no process", async () => {
    const hostname = `given-up-${process.pid}`;
    const stdio = { stdin: "ignore", stdout: "ignore", stderr: "ignore" } as const;
    let rejected = 0;

    for (let delayMs = 0; delayMs < 40; delayMs += 0.5) {
      const giveUp = new AbortController();
      const timer = setTimeout(() => giveUp.abort(new Error("given up")), delayMs);
      await openSandbox(zonePlan({ hostname }), stdio, giveUp.signal).then(
        async (sandbox) => await sandbox.kill(),
        () => rejected++,
      );
      clearTimeout(timer);
    }

    assert.ok(rejected > 0);
    assert.deepEqual(processesNaming(hostname), []);
  });
});
