// A recording and its proofs, changed in every way that we could think of: `recording verify` names each.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { suite, test } from "node:test";
import { createSigningKey } from "../../src/kit/signing.ts";
import type { SigningKey } from "../../src/kit/signing.ts";
import { verifyAsciicast } from "../../src/protocol/asciicast-verify.ts";
import { BatchBuffer } from "../../src/kit/batch-buffer.ts";
import { AsciicastWriter } from "../../src/protocol/asciicast-writer.ts";
import { countersignedBytes } from "../../src/protocol/countersignature.ts";
import type { Countersignature } from "../../src/protocol/countersignature.ts";
import { createRunId } from "../../src/protocol/ids.ts";
import {
  FIRST_PREVIOUS,
  hashOfCheckpoint,
  signCheckpoint,
} from "../../src/protocol/recording-proof.ts";
import type { Checkpoint, ProofLine } from "../../src/protocol/recording-proof.ts";
import { verifyProofs } from "../../src/protocol/recording-proof-verify.ts";

const recorder = createSigningKey();
const manager = createSigningKey();
const stranger = createSigningKey();
const run = createRunId("tampered");

interface Evidence {
  cast: Buffer;
  proofs: ProofLine[];
}

/** Four batches, each with its checkpoint, the last one the end. */
function untouched(): Evidence {
  const lines = new BatchBuffer();
  const writer = new AsciicastWriter(lines);
  writer.header({ cols: 80, rows: 24, timestamp: 1, title: "t", term: "xterm" });
  const proofs: ProofLine[] = [];
  for (let batch = 1; batch <= 4; batch += 1) {
    const end = batch === 4;
    const us = batch * 10_000;
    writer.output(Buffer.from(`first ${batch}\r\n`), us);
    writer.output(Buffer.from(`other ${batch}\r\n`), us);
    writer.output(Buffer.from([0xff, 0x61, 0x62]), us);
    writer.marker(`step ${batch}`, us);
    if (end) writer.exit(0, us);
    writer.position({ seq: batch * 4, fact: batch * 4, masked: 0, end });
    proofs.push(proofOf(lines.bytes, proofs.at(-1) ?? null, end));
  }
  return { cast: lines.bytes, proofs };
}

function proofOf(
  cast: Buffer,
  before: ProofLine | null,
  end: boolean,
  {
    keys = [recorder, manager],
    change = {},
  }: { keys?: SigningKey[]; change?: Partial<Checkpoint> } = {},
): ProofLine {
  const last = before !== null && "checkpoint" in before ? before.checkpoint : null;
  const checkpoint: Checkpoint = {
    session: run,
    epoch: 0,
    n: last === null ? 0 : last.n + 1,
    bytes: cast.length,
    sha256: createHash("sha256").update(cast).digest("hex"),
    previous: last === null ? FIRST_PREVIOUS : hashOfCheckpoint(last),
    set: 1,
    masked: 0,
    gaps: 0,
    end,
    time: new Date(0).toISOString(),
    ...change,
  };
  const [ours = recorder, theirs = manager] = keys;
  const signed = signCheckpoint(checkpoint, ours);
  return { ...signed, countersignature: countersign(checkpoint, theirs) };
}

function countersign(
  { bytes, sha256 }: Checkpoint,
  key: SigningKey,
  change: Partial<Countersignature> = {},
): Countersignature {
  const statement = {
    context: "recording" as const,
    run,
    epoch: 0,
    at: bytes,
    hash: sha256,
    time: new Date(0).toISOString(),
    ...change,
  };
  const signature = key.sign(
    `countersignature/${statement.context}`,
    countersignedBytes(statement),
  );
  return { ...statement, key: key.publicKey, signature };
}

const lines = (cast: Buffer): string[] => cast.toString().split("\n");
const joined = (list: string[]): Buffer => Buffer.from(list.join("\n"));
const replaced = (evidence: Evidence, from: string | RegExp, to: string): Evidence => ({
  ...evidence,
  cast: Buffer.from(evidence.cast.toString().replace(from, to)),
});
const at = (list: ProofLine[], index: number): Extract<ProofLine, { checkpoint: unknown }> => {
  const line = list.at(index);
  assert.ok(line !== undefined && "checkpoint" in line);
  return line;
};

const TAMPERING: [what: string, change: (evidence: Evidence) => Evidence, problem: RegExp][] = [
  [
    "its last line is cut off",
    (e) => ({ ...e, cast: e.cast.subarray(0, -9) }),
    /Last line is cut off/,
  ],
  [
    "its last batch is cut off",
    (e) => ({ ...e, cast: joined([...lines(e.cast).slice(0, -8), ""]) }),
    /Recording is cut: checkpoint 3 signed \d+ bytes/,
  ],
  [
    "a line in the middle is taken out",
    (e) => ({ ...e, cast: joined(lines(e.cast).filter((_, index) => index !== 9)) }),
    /Position says out/,
  ],
  [
    "a marker is taken out",
    (e) => replaced(e, /\[0\.000, "m", "step 2"\]\n/, ""),
    /Bytes changed: what checkpoint 1 signed lies in lines \d+ to \d+/,
  ],
  [
    "two lines are swapped",
    (e) => ({
      ...e,
      cast: joined(
        lines(e.cast)
          .with(1, lines(e.cast).at(2) ?? "")
          .with(2, lines(e.cast).at(1) ?? ""),
      ),
    }),
    /Bytes changed: what checkpoint 0 signed lies in lines 1 to 7/,
  ],
  [
    "a letter is changed",
    (e) => replaced(e, "other 2", "Other 2"),
    /Bytes changed: what checkpoint 1 signed/,
  ],
  [
    "raw bytes are changed for others that look the same",
    (e) => replaced(e, "#raw /2Fi", "#raw /mFi"),
    /Bytes changed: what checkpoint 0 signed/,
  ],
  [
    "raw bytes are changed for others that do not",
    (e) => replaced(e, "#raw /2Fi", "#raw YWFh"),
    /does not match the #raw line/,
  ],
  ["a raw line is taken out", (e) => replaced(e, "#raw /2Fi\n", ""), /Position says out/],
  [
    "the size in the header is changed",
    (e) => replaced(e, '"cols":80', '"cols":81'),
    /Bytes changed: what checkpoint 0 signed/,
  ],
  [
    "a comment is put in",
    (e) => replaced(e, "\n[", "\n# harmless\n["),
    /Bytes changed: what checkpoint 0 signed/,
  ],
  [
    "an interval is changed",
    (e) => replaced(e, /\[0\.010, "o", "first 3/, '[0.020, "o", "first 3'),
    /Position says ms 30, the lines before it make 40/,
  ],
  [
    "an event is added behind the end",
    (e) => ({ ...e, cast: Buffer.concat([e.cast, Buffer.from('[0.000, "o", "more"]\n')]) }),
    /nothing follows/,
  ],
  [
    "a comment is added behind the end",
    (e) => ({ ...e, cast: Buffer.concat([e.cast, Buffer.from("# more\n")]) }),
    /7 bytes after its signed end/,
  ],
  [
    "a gap is hidden",
    (e) => replaced(e, /\n#pos/, `\n#gap {"bytes":5,"sha256":"${"0".repeat(64)}"}\n#pos`),
    /Position says gap 0, the lines before it make 5/,
  ],
  [
    "a position says that frames went back",
    (e) => replaced(e, '"seq":8', '"seq":3'),
    /Position says seq 3, the one before it 4/,
  ],
  [
    "a checkpoint is taken out",
    (e) => ({ ...e, proofs: e.proofs.toSpliced(1, 1) }),
    /Line 2 of the proofs: expected checkpoint 1, got 2/,
  ],
  [
    "two checkpoints are swapped",
    (e) => ({ ...e, proofs: [at(e.proofs, 0), at(e.proofs, 2), at(e.proofs, 1), at(e.proofs, 3)] }),
    /expected checkpoint 1, got 2/,
  ],
  [
    "a checkpoint is there twice",
    (e) => ({ ...e, proofs: e.proofs.toSpliced(1, 0, at(e.proofs, 0)) }),
    /Line 2 of the proofs: expected checkpoint 1, got 0/,
  ],
  [
    "a checkpoint says other than was signed",
    (e) => ({
      ...e,
      proofs: e.proofs.with(2, {
        ...at(e.proofs, 2),
        checkpoint: { ...at(e.proofs, 2).checkpoint, masked: 7 },
      }),
    }),
    /Line 3 of the proofs: the recorder's signature is wrong/,
  ],
  [
    "the last checkpoint is signed by a stranger",
    (e) => ({
      ...e,
      proofs: e.proofs.with(
        3,
        proofOf(e.cast, at(e.proofs, 2), true, { keys: [stranger, manager] }),
      ),
    }),
    /signed by another key/,
  ],
  [
    "the manager's word is signed by a stranger",
    (e) => ({
      ...e,
      proofs: e.proofs.with(
        3,
        proofOf(e.cast, at(e.proofs, 2), true, { keys: [recorder, stranger] }),
      ),
    }),
    /Line 4 of the proofs: the manager's signature is wrong/,
  ],
  [
    "the manager's word is that of another checkpoint",
    (e) => ({
      ...e,
      proofs: e.proofs.with(1, {
        ...at(e.proofs, 1),
        countersignature: at(e.proofs, 0).countersignature,
      }),
    }),
    /Line 2 of the proofs: the manager signed something else/,
  ],
  [
    "the manager's word is of another run",
    (e) => ({
      ...e,
      proofs: e.proofs.with(0, {
        ...at(e.proofs, 0),
        countersignature: countersign(at(e.proofs, 0).checkpoint, manager, {
          run: createRunId("other"),
        }),
      }),
    }),
    /the manager signed it for run/,
  ],
  [
    "the manager's word is of an audit",
    (e) => ({
      ...e,
      proofs: e.proofs.with(0, {
        ...at(e.proofs, 0),
        countersignature: countersign(at(e.proofs, 0).checkpoint, manager, { context: "audit" }),
      }),
    }),
    /signed it as something else than a recording/,
  ],
  [
    "the proofs are of another session",
    (e) => ({ ...e, proofs: [proofOf(e.cast, null, true, { change: { session: "another" } })] }),
    /it is of session "another"/,
  ],
  [
    "both are rolled back and made to look whole",
    (e) => ({
      cast: joined([...lines(e.cast).slice(0, 19), ""]),
      proofs: [
        ...e.proofs.slice(0, 2),
        proofOf(joined([...lines(e.cast).slice(0, 19), ""]), at(e.proofs, 1), true, {
          keys: [stranger, stranger],
        }),
      ],
    }),
    /signed by another key/,
  ],
];

suite("a recording that was tampered with", () => {
  test("is whole before", async () => {
    assert.deepEqual(await problemsOf(untouched()), []);
  });

  for (const [what, change, problem] of TAMPERING)
    test(`is found out: ${what}`, async () => {
      const before = untouched();
      const after = change(before);
      assert.notDeepEqual(after, before, "nothing was changed");

      const problems = await problemsOf(after);

      assert.ok(
        problems.some((told) => problem.test(told)),
        JSON.stringify(problems, null, 1),
      );
    });

  test("is found out: the last line of the proofs is cut off, or is none", async () => {
    const { cast, proofs } = untouched();
    const text = proofs.map((line) => `${JSON.stringify(line)}\n`).join("");

    assert.match((await problemsOf({ cast, proofs: text.slice(0, -20) })).join(), /cut off/);
    const garbage = await problemsOf({ cast, proofs: `${text}{"checkpoint":7}\n` });
    assert.match(garbage.join(), /Line 5 of the proofs: /);
  });

  test("is found out at any byte of the recording", async () => {
    const { cast, proofs } = untouched();

    for (let index = 0; index < cast.length; index += 7) {
      const changed = Buffer.from(cast);
      changed[index] = (changed[index] as number) ^ 1;
      assert.notDeepEqual(await problemsOf({ cast: changed, proofs }), [], `byte ${index}`);
    }
  });
});

/** As `recording verify` puts them together for a run. */
async function problemsOf({
  cast,
  proofs,
}: {
  cast: Buffer;
  proofs: ProofLine[] | string;
}): Promise<string[]> {
  const dir = await mkdtemp(path.join(tmpdir(), "tampering-"));
  try {
    const file = path.join(dir, "recording.cast");
    const beside = path.join(dir, "recording.proofs.jsonl");
    const text =
      typeof proofs === "string"
        ? proofs
        : proofs.map((line) => `${JSON.stringify(line)}\n`).join("");
    await Promise.all([writeFile(file, cast), writeFile(beside, text)]);
    const known = { recorderKey: recorder.publicKey, managerKey: manager.publicKey, session: run };
    const checked = await verifyProofs(beside, file, known);
    const { problems } = await verifyAsciicast(file);
    return [...problems, ...(checked?.problems ?? [])].map(({ problem }) => problem);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
