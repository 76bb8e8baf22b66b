// Processes, the kernel, terminals and devices, the workspace as a channel: cases 1 to 11, 15, 16, 19 to 21, 24, 29 to 35, 96 and
// 99 of the attack list, each tried by a static program in the sandbox of a real run. Others of these families: the environment (22), the
// path (23, 25) and the interpreter (24) in test/tool-runner/{tools,program-check,workspace}; missing features (30) in
// test/attacks/missing-features; what calls carry (25, 42, 97, 98) in test/attacks/carriers; archives (34) in test/attacks/image-archives; admission (38 to 44) in test/attacks/admission.
import assert from "node:assert/strict";
import {
  existsSync,
  globSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { once } from "node:events";
import path from "node:path";
import { after, before, suite, test } from "node:test";
import { atEnd } from "../helpers/at-end.ts";
import { errnoOf } from "../../src/kit/platform-error.ts";
import { openRange, type AttackRange } from "../helpers/attack-range.ts";
import { trustedPartsOf } from "../helpers/run-parts.ts";

const CANARY = "can4ry-0f-the-k3rnel-family-0123456789";

function gotten(output: string): string[] {
  return output.split("\n").filter((line) => line.endsWith(": GOT"));
}

/** A directory that is a link elsewhere for half of the time. What the tool's end does meanwhile may come in between. */
async function swapForLinks(place: string, elsewhere: string, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    try {
      rmSync(place, { recursive: true, force: true });
      if (round % 2 === 0) symlinkSync(elsewhere, place);
      else mkdirSync(place);
    } catch (error) {
      if (!["EEXIST", "ENOTEMPTY"].includes(errnoOf(error) ?? "")) throw error;
    }
    await new Promise(setImmediate);
  }
}

suite("a hostile program in a tool's sandbox", () => {
  let range: AttackRange;
  before(async () => {
    range = await openRange({
      programs: ["kernel", "leaves", "ends", "tricks", "knocks", "burrow"].map(
        (name) => `test/fixtures/hostile/${name}.c`,
      ),
      secrets: { "canary/value": CANARY },
      tools: {
        plain: {},
        short: { sandbox: { timeout: "2s" } },
        strict: { sandbox: { tier: "strict" } },
        writes: { sandbox: { workspace: "rw" } },
        armed: {
          sandbox: { workspace: "rw" },
          credentials: [{ name: "one", secretRef: { name: "canary", key: "value" }, env: "TOKEN" }],
        },
      },
    });
  });
  after(() => range[Symbol.asyncDispose]());

  for (const tool of ["plain", "writes", "strict"])
    test(`1–11, 19, 20, 29, 99: reaches no process, socket, namespace, device or file of the host (${tool})`, async (context) => {
      const { supervisorPid } = await range.lab.waitForRun();
      const runner = trustedPartsOf(supervisorPid)["tool-runner"];
      const abstract = `ak-attack-${process.pid}-${tool}`;
      const socket = path.join(range.lab.workspace, `${tool}.sock`);
      const secret = range.lab.write(`host-file-${tool}`, CANARY);
      const servers: Server[] = [];
      atEnd(context, () => servers.forEach((server) => server.close()));
      for (const name of [`\0${abstract}`, socket]) {
        const server = createServer((peer) => peer.end(CANARY)).listen({ path: name });
        await once(server, "listening");
        servers.push(server);
      }

      const attack = await range.attack(
        tool,
        `exec /opt/tool/kernel ${runner} ${abstract} ${socket} ${secret}`,
      );

      for (const server of servers) server.close();
      if (attack.outcome === "refused" && tool === "strict")
        return context.skip(`no tier strict here: ${attack.detail?.cause}`);
      assert.equal(attack.outcome, "completed", JSON.stringify(attack.detail));
      assert.match(attack.stdout, /all tried\n$/);
      assert.ok(attack.stdout.split("\n").length > 500, `${attack.stdout.split("\n").length}`);
      assert.deepEqual(gotten(attack.stdout), []);
      await range.sweep();
    });

  for (const [tool, program, tries] of [
    ["plain", "tricks", 100],
    ["writes", "tricks", 100],
    ["plain", "knocks", 120],
  ] as const)
    test(`2, 3, 7, 8, 10, 14, 16, 20, 21, 24, 29, 32: gets nowhere by lesser known ways, and leaves nobody behind (${tool}, ${program})`, async () => {
      const attack = await range.attack(tool, `exec /opt/tool/${program}`);

      assert.equal(attack.outcome, "completed", JSON.stringify(attack.detail));
      assert.match(attack.stdout, /all tried\n$/);
      assert.ok(attack.stdout.split("\n").length > tries, attack.stdout);
      assert.deepEqual(gotten(attack.stdout), []);
      await range.sweep();
    });

  for (const [what, outcome, cause] of [
    ["deep", "completed", /nested deeper than 128/],
    ["sparse", "completed", /too large to be copied/],
    ["fill", "killed_by_limit", /filling up/],
    ["names", "completed", null],
  ] as const)
    test(`15, 35: what a tool leaves in its private copy is read and removed in bounded time (${what})`, async () => {
      const startedAt = performance.now();
      const attack = await range.attack("armed", `exec /opt/tool/burrow ${what}`, {
        timeoutMs: 120_000,
      });

      assert.equal(attack.outcome, outcome, JSON.stringify(attack));
      if (cause === null) assert.equal(attack.detail, undefined, JSON.stringify(attack.detail));
      else assert.match(attack.detail?.cause ?? "", cause);
      assert.ok(performance.now() - startedAt < 100_000);
      const [calls = ""] = globSync(path.join(range.lab.runtime, "*/calls"));
      assert.deepEqual(readdirSync(calls), []);
      if (what === "names")
        assert.ok(lstatSync(path.join(range.lab.workspace, "n".repeat(255))).isFile());
      await range.sweep();
    });

  test("21, 35, 96: leaves no bit, attribute, owner, device or socket in the workspace, and reaches no socket there", async (context) => {
    const helper = path.join(range.lab.workspace, "helper.sock");
    const server = createServer((peer) => peer.end(CANARY)).listen({ path: helper });
    await once(server, "listening");
    atEnd(context, () => server.close());

    const attack = await range.attack("writes", "exec /opt/tool/leaves helper.sock");
    server.close();

    assert.equal(attack.outcome, "completed", JSON.stringify(attack.detail));
    assert.match(attack.stdout, /all tried\n$/);
    assert.deepEqual(gotten(attack.stdout), []);
    const owner = statSync(range.lab.workspace).uid;
    for (const name of readdirSync(range.lab.workspace, { encoding: "buffer" })) {
      const file = Buffer.concat([Buffer.from(`${range.lab.workspace}/`), name]);
      const info = lstatSync(file);
      assert.equal(info.mode & 0o6000, 0, name.toString());
      assert.equal(info.uid, owner, name.toString());
      assert.ok(!info.isBlockDevice() && !info.isCharacterDevice(), name.toString());
      assert.ok(!info.isSocket() || name.toString().endsWith(".sock"), name.toString());
    }
    await range.sweep();
  });

  test("22, 23, 24, 26: runs the bytes that were admitted, whatever lies in the workspace or changed in the package since", async () => {
    const evil = "#!/bin/sh\necho evil\n";
    for (const name of ["ls", "sh", "env", "git", "node"])
      writeFileSync(path.join(range.lab.workspace, name), evil, { mode: 0o755 });
    mkdirSync(path.join(range.lab.workspace, ".git"));
    writeFileSync(
      path.join(range.lab.workspace, ".git/config"),
      "[core]\n\tfsmonitor = echo evil\n\tpager = echo evil\n",
    );
    for (const name of [".npmrc", ".envrc", ".profile", ".bashrc", ".env"])
      writeFileSync(path.join(range.lab.workspace, name), "echo evil\nLD_PRELOAD=/workspace/ls\n");
    writeFileSync(path.join(range.lab.config, "hostile/kernel"), evil, { mode: 0o755 });

    for (const tool of ["writes", "armed"]) {
      const attack = await range.attack(
        tool,
        "pwd; ls -a | wc -l; env | cut -d= -f1 | sort | tr '\\n' ' '; /opt/tool/kernel; echo status $?",
      );

      assert.equal(attack.outcome, "completed", JSON.stringify(attack.detail));
      assert.match(attack.stdout, /^\/workspace\n\d+\n[A-Z_ ]+status 2\n$/);
      const names = /\n([A-Z_ ]+) status/.exec(attack.stdout)?.[1]?.split(" ") ?? [];
      assert.deepEqual(
        names.filter((name) => name !== "TOKEN"),
        ["HOME", "LANG", "PATH", "PWD"],
      );
    }
    await range.sweep();
  });

  test("31, 35, 96: a private workspace brings home regular files only, whatever else a tool left", async () => {
    const kinds = (): string[] =>
      readdirSync(range.lab.workspace, { withFileTypes: true })
        .filter((entry) => !entry.isFile() && !entry.isDirectory())
        .map(({ name }) => name)
        .sort();
    const strange = kinds();

    const attack = await range.attack(
      "armed",
      "mkdir copy; cd copy; ln -s /etc/shadow a; ln -s /proc/1/environ b; mkfifo c; ln -s .. d; ln /etc/passwd e; " +
        "mkdir d2; ln -s ../../../../.. d2/up; echo plain > plain; echo dash > ./-rf; printf 'x' > \"$(printf 'a\\033[2Jb')\"; " +
        'printf %s "$TOKEN" > token; printf %s "$TOKEN" | base64 > token64',
    );

    assert.ok(["completed", "refused"].includes(attack.outcome), JSON.stringify(attack));
    assert.deepEqual(kinds(), strange);
    const copied = path.join(range.lab.workspace, "copy");
    const names = existsSync(copied) ? readdirSync(copied, { withFileTypes: true }) : [];
    for (const entry of names) assert.ok(entry.isFile() || entry.isDirectory(), entry.name);
    await range.sweep();
  });

  test("32: directories that are swapped for links while a call ends never lead a file out of the workspace", async () => {
    const outside = range.lab.write("outside/file", "untouched");

    const [attack] = await Promise.all([
      range.attack(
        "armed",
        "mkdir -p w; i=0; while [ $i -lt 300 ]; do echo evil > w/file; i=$((i+1)); done",
      ),
      swapForLinks(path.join(range.lab.workspace, "w"), path.dirname(outside), 400),
    ]);

    assert.notEqual(attack.outcome, "start_failed", JSON.stringify(attack.detail));
    assert.equal(readFileSync(outside, "utf8"), "untouched");
    await range.sweep();
  });

  for (const [what, outcomes] of [
    ["kill-all", ["signalled"]],
    ["stop-all", ["timed_out"]],
    ["daemons", ["completed"]],
    ["starve-init", ["completed"]],
    ["orphans", ["completed"]],
    ["silent", ["timed_out"]],
    ["threads-exec", ["completed"]],
    ["dump", ["signalled"]],
    ["ptrace-me", ["signalled", "timed_out"]],
  ] as const)
    test(`3, 16, 17, 88, 99: ${what} ends its own call and leaves nothing`, async () => {
      const neighbour = range.call("plain", "sleep 1; echo still here");

      const attack = await range.attack("short", `exec /opt/tool/ends ${what}`);

      assert.ok((outcomes as readonly string[]).includes(attack.outcome), JSON.stringify(attack));
      assert.ok(attack.durationMs < 5000, `${attack.durationMs} ms`);
      assert.equal((await neighbour).stdout, "still here\n");
      await range.sweep();
    });
});
