// Programs that take all there is: cases 13 to 16 of the attack list, each a static program in the sandbox of a real run. While
// one of them eats, the tool-runner must answer another call.
import assert from "node:assert/strict";
import { readFileSync, statfsSync } from "node:fs";
import { after, before, suite, test } from "node:test";
import { openRange, type AttackRange } from "../helpers/attack-range.ts";
import { trustedPartsOf } from "../helpers/run-parts.ts";

const MIB = 1 << 20;
/** How soon another call is answered while a hostile one runs; on a busy machine of two processors. */
const ANSWER_MS = 5000;

interface Case {
  name: string;
  /** the words that start it; `eats` and `hides` are the programs */
  program: string;
  sandbox: { tier?: string; timeout?: string; limits?: object };
  outcomes: string[];
  /** what must hold for what it printed */
  said?: (stdout: string) => boolean;
  /** bytes of the machine's memory it may take for longer than a moment */
  memory?: number;
}

const cases: Case[] = [
  {
    name: "13: forks for ever",
    program: "eats forks",
    sandbox: { timeout: "2s", limits: { processes: 64 } },
    outcomes: ["timed_out", "killed_by_limit"],
  },
  {
    name: "13: as many children as it gets",
    program: "eats count-forks",
    sandbox: { limits: { processes: 32 } },
    outcomes: ["completed"],
    said: (text) => Number(/^children (\d+)\n$/m.exec(text)?.[1]) <= 32,
  },
  {
    name: "13: as many threads as it gets",
    program: "eats threads",
    sandbox: { limits: { processes: 32 } },
    outcomes: ["completed"],
    said: (text) => Number(/^threads (\d+)\n$/m.exec(text)?.[1]) <= 32,
  },
  {
    name: "13: the CPU time of children that nobody waits for",
    program: "eats cpu-of-the-dead",
    sandbox: { timeout: "10s", limits: { cpu: "500ms" } },
    outcomes: ["killed_by_limit"],
  },
  {
    name: "14: memory of one process",
    program: "eats memory",
    sandbox: { timeout: "20s", limits: { memory: "128Mi" } },
    outcomes: ["killed_by_limit", "completed", "signalled"],
    memory: 1024 * MIB,
  },
  {
    name: "14: memory of many processes, each below the limit",
    program: "eats memory-of-many",
    sandbox: { timeout: "20s", limits: { memory: "128Mi" } },
    outcomes: ["killed_by_limit"],
    memory: 1024 * MIB,
  },
  {
    name: "14: shared memory that no process's size shows",
    program: "eats hidden-memory",
    sandbox: { timeout: "20s", limits: { memory: "128Mi" } },
    outcomes: ["killed_by_limit", "completed"],
    said: (text) => text === "" || Number(/^hidden (\d+)/m.exec(text)?.[1]) <= 128,
    memory: 400 * MIB,
  },
  {
    name: "14: the same by /dev/zero, which cannot be mapped",
    program: "eats hidden-zero",
    sandbox: { timeout: "20s", limits: { memory: "128Mi" } },
    outcomes: ["completed"],
    said: (text) => text === "hidden 0 MiB\n",
    memory: 400 * MIB,
  },
  {
    name: "14: pages of another kind",
    program: "eats huge-pages",
    sandbox: { limits: { memory: "128Mi" } },
    outcomes: ["completed"],
    said: (text) => text === "huge 0 EPERM\n",
  },
  {
    name: "14: page tables of memory that was only read",
    program: "eats page-tables",
    sandbox: { timeout: "20s", limits: { memory: "128Mi" } },
    outcomes: ["killed_by_limit"],
    memory: 800 * MIB,
  },
  {
    name: "14: buffers of sockets of many processes",
    program: "eats socket-buffers",
    sandbox: { timeout: "20s", limits: { memory: "128Mi" } },
    outcomes: ["killed_by_limit"],
    memory: 2048 * MIB,
  },
  {
    name: "14: memory of a process whose first thread has ended",
    program: "hides behind-its-thread",
    sandbox: { timeout: "20s", limits: { memory: "128Mi" } },
    outcomes: ["killed_by_limit"],
    memory: 400 * MIB,
  },
  {
    name: "14: memory of a process whose name looks like its numbers",
    program: "hides behind-a-name",
    sandbox: { timeout: "20s", limits: { memory: "128Mi" } },
    outcomes: ["killed_by_limit"],
    memory: 400 * MIB,
  },
  {
    name: "14: files of processes whose first threads have ended",
    program: "hides files-behind-threads",
    sandbox: { timeout: "10s" },
    outcomes: ["killed_by_limit"],
  },
  {
    name: "14: connections that have learnt to hold much",
    program: "hides connections",
    sandbox: { timeout: "10s", limits: { memory: "128Mi" } },
    outcomes: ["killed_by_limit", "timed_out"],
    memory: 1280 * MIB,
  },
  {
    name: "14: connections that nobody accepts",
    program: "hides backlogs 2",
    sandbox: { timeout: "20s", limits: { memory: "128Mi" } },
    outcomes: ["completed"],
    said: (text) => Number(/^hidden (\d+)/m.exec(text)?.[1]) <= 64,
    memory: 256 * MIB,
  },
  {
    name: "14: connections that nobody accepts, at many listeners",
    program: "hides backlogs 200",
    sandbox: { timeout: "20s", limits: { memory: "128Mi" } },
    outcomes: ["killed_by_limit"],
    memory: 1280 * MIB,
  },
  {
    name: "14: watched descriptors",
    program: "hides watches",
    sandbox: { timeout: "10s" },
    outcomes: ["killed_by_limit"],
    memory: 512 * MIB,
  },
  {
    name: "14: descriptors on their way, which no process has",
    program: "hides in-flight",
    sandbox: {},
    outcomes: ["completed"],
    said: (text) => Number(/^hidden (\d+)/m.exec(text)?.[1]) <= 256,
    memory: 512 * MIB,
  },
  {
    name: "14: queued signals and timers",
    program: "eats signals",
    sandbox: {},
    outcomes: ["completed"],
    said: (text) => {
      const [, queued, timers] = /^queued (\d+) timers (\d+)$/m.exec(text) ?? [];
      return Number(queued) + Number(timers) <= 1024 && Number(queued) > 0;
    },
  },
  {
    name: "14: buffers of pipes",
    program: "eats descriptors",
    sandbox: {},
    outcomes: ["completed"],
    said: (text) => Number(/^pipes (\d+)/m.exec(text)?.[1]) <= 512,
  },
  {
    name: "15: files without number",
    program: "eats files",
    sandbox: { timeout: "30s", limits: { scratch: "16Mi" } },
    outcomes: ["completed"],
    said: (text) => /^files \d+ ENOSPC$/m.test(text),
  },
  {
    name: "15: bytes wherever it may write",
    program: "eats disk",
    sandbox: { timeout: "30s", limits: { scratch: "16Mi" } },
    outcomes: ["completed"],
    said: (text) =>
      Number(/^written (\d+)/m.exec(text)?.[1]) <= 80 * MIB && text.includes("fallocate 0"),
  },
  {
    name: "16: one byte at a time for ever",
    program: "eats bytes-for-ever",
    sandbox: { timeout: "3s", limits: { output: "64Ki" } },
    outcomes: ["killed_by_limit", "timed_out"],
    said: (text) => text.length < 70_000,
  },
  {
    name: "16: 128 GiB",
    program: "eats flood",
    sandbox: { timeout: "5s", limits: { output: "64Ki" } },
    outcomes: ["killed_by_limit", "timed_out"],
    said: (text) => text.length < 70_000,
  },
  {
    name: "16: closes its output and runs on",
    program: "eats closed",
    sandbox: { timeout: "1s" },
    outcomes: ["timed_out"],
    said: (text) => text === "",
  },
];

function memoryTaken(): number {
  const free = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
  return -Number(free) * 1024;
}

function freeDisk(): number {
  const { bavail, bsize } = statfsSync("/tmp");
  return bavail * bsize;
}

suite("a tool that takes all there is", () => {
  let range: AttackRange;
  before(async () => {
    const tools = cases.map(({ sandbox }, index) => [`eater-${index}`, { sandbox }] as const);
    range = await openRange({
      programs: ["test/fixtures/hostile/eats.c", "test/fixtures/hostile/hides.c"],
      tools: { neighbour: {}, ...Object.fromEntries(tools) },
    });
  });
  after(() => range[Symbol.asyncDispose]());

  for (const [index, { name, program, outcomes, said, memory }] of cases.entries())
    test(`${name}: ends at its own limit, and its neighbours do not wait`, async (context) => {
      const { supervisorPid } = await range.lab.waitForRun();
      const runner = trustedPartsOf(supervisorPid)["tool-runner"];
      const [memoryBefore, diskBefore] = [memoryTaken(), freeDisk()];
      let most = 0;
      const watch = setInterval(() => (most = Math.max(most, memoryTaken() - memoryBefore)), 20);
      const attacking = range.attack(`eater-${index}`, `exec /opt/tool/${program}`);
      const asked = performance.now();

      const answered = await range.call("neighbour", "echo here", AbortSignal.timeout(ANSWER_MS));
      const waited = performance.now() - asked;
      const attack = await attacking;
      clearInterval(watch);

      if (attack.outcome === "refused" && attack.detail?.cause.includes("strict"))
        return context.skip(`no tier strict here: ${attack.detail.cause}`);
      assert.equal(answered.stdout, "here\n");
      assert.ok(waited < ANSWER_MS, `${waited} ms`);
      assert.ok(outcomes.includes(attack.outcome), JSON.stringify(attack).slice(0, 2000));
      assert.ok(said === undefined || said(attack.stdout), attack.stdout.slice(0, 300));
      if (memory !== undefined) assert.ok(most < memory, `took ${Math.round(most / MIB)} MiB`);
      assert.ok(diskBefore - freeDisk() < 256 * MIB, "the disk of the machine is full of it");
      await range.sweep();
      const life = readFileSync(`/proc/${runner}/status`, "utf8");
      assert.ok(Number(/^VmRSS:\s+(\d+)/m.exec(life)?.[1]) < 400 * 1024, life);
    });
});
