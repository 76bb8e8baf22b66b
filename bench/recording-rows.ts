import path from "node:path";
import { messageOf } from "../src/kit/platform-error.ts";
import { temporaryDirectory } from "./belongings.ts";
import { median } from "./measure.ts";
import { writeMixedOutput } from "./mixed-output.ts";
import { buildNodePty, nodePtyVersion } from "./node-pty-build.ts";
import { recordByAgentkube } from "./recorded-run.ts";
import type { RecordedRun } from "./recorded-run.ts";
import { readByNodePty, recordByAsciinema, recordByScript, versionOf } from "./recording-peers.ts";
import { missingRow, peerRow, ratioRow, valueRow } from "./row.ts";
import type { Goal, Row } from "./row.ts";

const BYTES = 200_000_000;
const ROUNDS = 3;
const NAME = "PTY to verified at the manager, 200 MB mixed";

interface PeerWork {
  program: string;
  goal: Goal | null;
  prepare: () => Promise<{ name: string; work: (dir: string) => Promise<number> }>;
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
    prepare: async () => ({
      name: `${await installed("asciinema")} rec`,
      work: (dir) => recordByAsciinema(dir, BYTES),
    }),
  },
  {
    program: "script",
    goal: null,
    prepare: async () => ({
      name: `${await installed("script")} -qc`,
      work: (dir) => recordByScript(dir, BYTES),
    }),
  },
];

/** The whole way of 200 MB by the real command line, from the first output until the manager has verified it. */
export async function recordingRows(): Promise<Row[]> {
  await using directory = temporaryDirectory();
  const file = path.join(directory.path, "mixed");
  writeMixedOutput(file, BYTES);
  const peers = await Promise.all(PEERS.map(prepared));
  const ours: RecordedRun[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    process.stderr.write(`measuring: recording, round ${round + 1} of ${ROUNDS} …\n`);
    ours.push(await recordByAgentkube(file, BYTES));
    for (const peer of peers) {
      if (peer.work === null) continue;
      try {
        peer.times.push(await peer.work(directory.path));
      } catch (error) {
        // A peer that fails is no reason to lose our own numbers.
        peer.problem = messageOf(error);
        peer.work = null;
      }
    }
  }
  const value = rateOf(median(ours.map(({ elapsedMs }) => elapsedMs)));
  const lost = Math.max(...ours.map(({ lostBytes }) => lostBytes));
  return [
    ...peers.map((peer) =>
      peer.problem === null
        ? rowOf(value, peer.name, rateOf(median(peer.times)), peer.goal)
        : missingRow(`${NAME}, against ${peer.program}`, peer.problem),
    ),
    valueRow(
      `bytes lost of 200 MB, worst of ${ROUNDS} runs`,
      lost,
      "bytes",
      "recording cat --raw beside what was printed",
      { atMost: 0 },
    ),
  ];
}

interface PreparedPeer {
  program: string;
  name: string;
  goal: Goal | null;
  times: number[];
  work: ((dir: string) => Promise<number>) | null;
  problem: string | null;
}

async function prepared({ program, goal, prepare }: PeerWork): Promise<PreparedPeer> {
  const base = { program, goal, times: [] };
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

function rateOf(elapsedMs: number): number {
  return BYTES / 1000 / elapsedMs;
}
