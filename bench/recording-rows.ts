import { createReadStream } from "node:fs";
import path from "node:path";
import { messageOf } from "../src/kit/platform-error.ts";
import { temporaryDirectory } from "./belongings.ts";
import { median } from "./measure.ts";
import { writeMixedOutput } from "./mixed-output.ts";
import { buildNodePty, nodePtyVersion } from "./node-pty-build.ts";
import { digestOf, lostBytes } from "./recorded-bytes.ts";
import { recordByAgentkube } from "./recorded-run.ts";
import {
  readByNodePty,
  readByScript,
  recordByAsciinema,
  recordByScript,
  recordByTlog,
  versionOf,
} from "./recording-peers.ts";
import type { Measured } from "./recording-peers.ts";
import { missingRow, peerRow, ratioRow, valueRow } from "./row.ts";
import type { Goal, Row } from "./row.ts";

const BYTES = 200_000_000;
const NAME = "PTY to verified at the manager, 200 MB mixed";
const CPU_NAME = "CPU of all our processes in that time";

interface PeerWork {
  program: string;
  goal: Goal | null;
  prepare: () => Promise<{ name: string; work: (dir: string) => Promise<Measured> }>;
}

const PEERS: PeerWork[] = [
  {
    program: "node-pty",
    goal: { atLeast: 0.6 },
    prepare: async () => {
      const library = await buildNodePty();
      return {
        name: `node-pty ${nodePtyVersion()}, read and dropped`,
        work: (dir) => readByNodePty(library, dir, BYTES),
      };
    },
  },
  {
    program: "asciinema",
    goal: { atLeast: 1 },
    prepare: async () => ({ name: `${await installed("asciinema")} rec`, work: recordByAsciinema }),
  },
  {
    program: "tlog-rec",
    goal: { atLeast: 1 },
    prepare: async () => ({ name: await installed("tlog-rec"), work: recordByTlog }),
  },
  {
    program: "script",
    goal: null,
    prepare: async () => ({
      name: `${await installed("script")} -qc`,
      work: (dir) => recordByScript(dir, BYTES),
    }),
  },
  {
    program: "cat in a bare terminal",
    goal: null,
    prepare: async () => ({
      name: `cat in a terminal that ${await installed("script")} reads and drops`,
      work: readByScript,
    }),
  },
];

/** The whole way of 200 MB by the real command line, from the first output until the manager has verified it; medians of the rounds. */
export async function recordingRows(rounds: number): Promise<Row[]> {
  await using directory = temporaryDirectory();
  const file = path.join(directory.path, "mixed");
  writeMixedOutput(file, BYTES);
  const printed = await digestOf(createReadStream(file));
  const peers = await Promise.all(PEERS.map(prepared));
  const ours: Measured[] = [];
  for (let round = 0; round < rounds; round++) {
    process.stderr.write(`measuring: recording, round ${round + 1} of ${rounds} …\n`);
    ours.push(await recordByAgentkube(file));
    for (const peer of peers) {
      if (peer.work === null) continue;
      try {
        peer.measured.push(await peer.work(directory.path));
      } catch (error) {
        // A peer that fails is no reason to lose our own numbers.
        peer.problem = messageOf(error);
        peer.work = null;
      }
    }
  }
  const lostOf = (measured: Measured[]): number[] =>
    measured.flatMap(({ recorded }) => (recorded === null ? [] : [lostBytes(recorded, printed)]));
  const rate = rateOf(ours);
  const cpu = cpuOf(ours);
  const measured = peers.filter(({ problem }) => problem === null);
  return [
    ...peers.map((peer) =>
      peer.problem === null
        ? rowOf(rate, peer.name, rateOf(peer.measured), peer.goal)
        : missingRow(`${NAME}, against ${peer.program}`, peer.problem),
    ),
    valueRow(CPU_NAME, cpu, "s", "what is printed, supervisor and manager included", { atMost: 4 }),
    ...measured.map((peer) =>
      peerRow(CPU_NAME, cpu, "s", { name: peer.name, value: cpuOf(peer.measured) }, null),
    ),
    valueRow(
      `bytes lost of 200 MB, worst of ${rounds} runs`,
      Math.max(...lostOf(ours)),
      "bytes",
      "recording cat --raw beside what was printed",
      { atMost: 0 },
    ),
    ...measured.flatMap((peer) => {
      const lost = lostOf(peer.measured);
      const row = `the same of ${peer.name}`;
      return lost.length === 0
        ? []
        : [valueRow(row, Math.max(...lost), "bytes", "what its recording gives back", null)];
    }),
  ];
}

interface PreparedPeer {
  program: string;
  name: string;
  goal: Goal | null;
  measured: Measured[];
  work: ((dir: string) => Promise<Measured>) | null;
  problem: string | null;
}

async function prepared({ program, goal, prepare }: PeerWork): Promise<PreparedPeer> {
  const base = { program, goal, measured: [] };
  try {
    return { ...base, ...(await prepare()), problem: null };
  } catch (error) {
    return { ...base, name: program, work: null, problem: messageOf(error) };
  }
}

function rowOf(value: number, name: string, peer: number, goal: Goal | null): Row {
  const against = { name, value: peer };
  return goal === null
    ? peerRow(NAME, value, "MB/s", against, null)
    : ratioRow(NAME, value, "MB/s", against, goal);
}

async function installed(program: string): Promise<string> {
  const version = await versionOf(program);
  if (version === null) throw new Error(`no ${program} on PATH`);
  return version;
}

function rateOf(measured: Measured[]): number {
  return BYTES / 1000 / median(measured.map(({ elapsedMs }) => elapsedMs));
}

function cpuOf(measured: Measured[]): number {
  return median(measured.map(({ cpuSeconds }) => cpuSeconds));
}
