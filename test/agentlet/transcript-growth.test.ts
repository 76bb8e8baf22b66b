import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  renameSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, suite, test } from "node:test";
import { claudeCode } from "../../src/agentlet/drivers/claude-code.ts";
import { custom } from "../../src/agentlet/drivers/custom.ts";
import {
  TRANSCRIPT_LIMITS,
  TranscriptGrowth,
  watchTranscript,
} from "../../src/agentlet/transcript-growth.ts";
import { silentLog } from "../../src/kit/log.ts";
import { openTestZone, startOnTerminal } from "./open-zone.ts";

/** Memory takes larger holes than disks do: together more than a number holds. */
const [PLACE, HOLE_BYTES] = existsSync("/dev/shm")
  ? ["/dev/shm", Number.MAX_SAFE_INTEGER]
  : [tmpdir(), 2 ** 43];
const PATTERNS = ["projects/*/*.jsonl", "projects/*/*/**", "log.md"];

suite("the growth of a transcript", () => {
  let home: string;
  beforeEach(async () => {
    home = await mkdtemp(join(PLACE, "agentlet-home-"));
    mkdirSync(join(home, "projects/one/agents"), { recursive: true });
  });
  afterEach(async () => {
    await rm(home, { recursive: true });
  });
  const path = (name: string) => join(home, name);

  test("is what its files come to, wherever the patterns find them, and since when", async () => {
    writeFileSync(path("log.md"), "from an older run");
    await using growth = await TranscriptGrowth.open(home, PATTERNS);
    const before = growth.size;
    await growth.look();
    const still = growth.size;
    writeFileSync(path("projects/one/a.jsonl"), "x".repeat(100));
    writeFileSync(path("projects/one/agents/b.jsonl"), "x".repeat(10));
    writeFileSync(path("projects/one/other.txt"), "x".repeat(1000));

    await growth.look();
    const grown = growth.size;

    assert.deepEqual(
      [before, still],
      [
        { bytes: 17, grownMsAgo: null },
        { bytes: 17, grownMsAgo: null },
      ],
    );
    assert.equal(grown?.bytes, 127);
    assert.ok(grown.grownMsAgo !== null && grown.grownMsAgo < 20_000);
  });

  test("is seen when a file keeps its size and is written anew", async () => {
    writeFileSync(path("log.md"), "one");
    await using growth = await TranscriptGrowth.open(home, PATTERNS);
    execFileSync("touch", ["-d", "2031-01-01", path("log.md")]);

    await growth.look();

    assert.equal(growth.size?.bytes, 3);
    assert.notEqual(growth.size?.grownMsAgo, null);
  });

  test("is null where there is no file, and for a runtime of which nobody knows where it writes", async () => {
    await using growth = await TranscriptGrowth.open(home, PATTERNS);

    assert.equal(growth.size, null);
    assert.equal(await watchTranscript({ rootPath: "/" }, custom, silentLog), null);
    assert.equal(await watchTranscript({ rootPath: home }, claudeCode, silentLog), null);
  });

  test("comes from no link, waits for no pipe, and is a number however large a file claims to be", async () => {
    const outside = await mkdtemp(join(tmpdir(), "agentlet-outside-"));
    mkdirSync(join(outside, "agents"));
    writeFileSync(join(outside, "secret.jsonl"), "x".repeat(5000));
    writeFileSync(join(outside, "agents/secret.jsonl"), "x".repeat(5000));
    try {
      await using growth = await TranscriptGrowth.open(home, PATTERNS);
      symlinkSync(outside, path("projects/two"));
      symlinkSync(join(outside, "agents"), path("projects/one/linked"));
      symlinkSync(join(outside, "secret.jsonl"), path("projects/one/linked.jsonl"));
      symlinkSync("/dev/zero", path("log.md"));
      execFileSync("mkfifo", [path("projects/one/pipe.jsonl"), path("projects/three")]);
      mkdirSync(path("projects/closed"), { mode: 0 });
      mkdirSync(path("projects/one/folder.jsonl"));
      writeFileSync(path("projects/one/real.jsonl"), "x".repeat(7));

      await growth.look();
      const size = growth.size;
      for (const name of ["a", "b", "c"]) {
        writeFileSync(path(`projects/one/${name}.jsonl`), "");
        truncateSync(path(`projects/one/${name}.jsonl`), HOLE_BYTES);
      }
      await growth.look();

      assert.equal(size?.bytes, 7);
      assert.ok(Number.isSafeInteger(growth.size?.bytes));
      assert.ok((growth.size?.bytes ?? 0) >= HOLE_BYTES);
    } finally {
      execFileSync("chmod", ["700", path("projects/closed")]);
      await rm(outside, { recursive: true });
    }
  });

  test("has limits: of entries, of files, of depth", async () => {
    const { entries, files, depth } = TRANSCRIPT_LIMITS;
    const deep = path(`projects/one/agents${"/d".repeat(depth + 4)}`);
    mkdirSync(deep, { recursive: true });
    writeFileSync(join(deep, "f"), "x");
    await using growth = await TranscriptGrowth.open(home, PATTERNS);
    const tooDeep = growth.size;
    for (let n = 0; n < files + 50; n++) writeFileSync(path(`projects/one/agents/${n}`), "x");
    await growth.look();
    const many = growth.size;
    mkdirSync(path("projects/zero"));
    for (let n = 0; n < entries + 10; n++) mkdirSync(path(`projects/zero/${n}`));
    renameSync(path("projects/one"), path("aside"));

    const from = performance.now();
    await growth.look();

    assert.equal(tooDeep, null);
    assert.equal(many?.bytes, files);
    assert.ok(performance.now() - from < 20_000);
  });
});

test("the transcript of a CLI in a real zone is seen to grow from outside, as whoever we are", async () => {
  await using zone = await openTestZone();
  await using growth = await watchTranscript(zone.sandbox, claudeCode, silentLog);
  const write = "mkdir -p ~/.claude/projects/-w; echo 12345 >> ~/.claude/projects/-w/0-1.jsonl";

  const { pty } = await startOnTerminal(zone, ["/bin/sh", "-c", write]);
  await pty.ended;
  await growth?.look();

  assert.equal(growth?.size?.bytes, 6);
  assert.notEqual(growth?.size?.grownMsAgo, null);
});
