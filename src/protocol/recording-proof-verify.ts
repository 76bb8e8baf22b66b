import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { parseJson } from "../kit/json-lines.ts";
import { errnoOf, messageOf } from "../kit/platform-error.ts";
import { isCountersigned } from "./countersignature.ts";
import type { Countersignature } from "./countersignature.ts";
import type { CastSource } from "./asciicast.ts";
import { isCheckpointSigned, problemOfChain, ProofLine } from "./recording-proof.ts";
import type { SignedCheckpoint } from "./recording-proof.ts";
import type { VerifyResult } from "./results.ts";

type Problems = VerifyResult["problems"];

/** What the proofs beside a recording say of it. */
export interface ProofCheck {
  proof: NonNullable<VerifyResult["proof"]>;
  problems: Problems;
}

/** What a recording has to be of, where the caller knows it from elsewhere. */
export interface KnownKeys {
  managerKey?: string;
  recorderKey?: string;
  /** the run, or RUN.GRANT of a shell */
  session?: string;
}

/** What a proof claims of the bytes. */
interface Claim {
  bytes: number;
  sha256: string;
  what: string;
}

/**
 * Checks the proofs file of a recording against the recording: the chain, both signatures, and the bytes below each point. Null when
 * there is no such file. A problem of bytes names the first line that is not as it was signed.
 */
export async function verifyProofs(
  path: string,
  source: CastSource,
  known: KnownKeys,
): Promise<ProofCheck | null> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null;
    throw error;
  }
  const problems: Problems = [];
  const claims: Claim[] = [];
  const proof = { checkpoints: 0, signedBytes: 0, countersignedBytes: 0, ended: false };
  let last: SignedCheckpoint | null = null;
  let managerKey = known.managerKey;
  let run = known.session === undefined ? undefined : runOfSession(known.session);
  const lines = text.split("\n");
  if (lines.pop() !== "") problems.push({ line: 0, problem: "Last line of the proofs is cut off" });
  for (const [index, line] of lines.entries()) {
    const tell = (problem: string): void =>
      void problems.push({ line: 0, problem: `Line ${index + 1} of the proofs: ${problem}` });
    const parsed = parseProof(line);
    if (typeof parsed === "string") {
      tell(parsed);
      continue;
    }
    const { countersignature } = parsed;
    managerKey ??= countersignature?.key;
    // The session of a shell is that of its run and its grant; the manager signs for the run.
    run ??=
      "checkpoint" in parsed ? runOfSession(parsed.checkpoint.session) : countersignature?.run;
    if (countersignature !== null && !isCountersigned(countersignature, managerKey ?? ""))
      tell("the manager's signature is wrong");
    // What the manager signed of another run, or of an audit, says nothing of this recording.
    if (countersignature !== null && countersignature.context !== "recording")
      tell("the manager signed it as something else than a recording");
    if (countersignature !== null && countersignature.run !== run)
      tell(`the manager signed it for run "${countersignature.run}", not for "${run}"`);
    if ("closed" in parsed) {
      const { at, hash } = parsed.countersignature;
      claims.push({ bytes: at, sha256: hash, what: `the manager's end (${parsed.closed})` });
      proof.countersignedBytes = at;
      proof.ended = true;
      continue;
    }
    const { checkpoint } = parsed;
    const problem =
      problemOfChain(parsed, last) ??
      problemOfSigner(parsed, known) ??
      problemOfSession(parsed, known);
    if (problem !== null) tell(problem);
    if (countersignature !== null) {
      if (!isOf(countersignature, parsed))
        tell("the manager signed something else than the recorder");
      proof.countersignedBytes = checkpoint.bytes;
    }
    last = parsed;
    proof.checkpoints += 1;
    proof.signedBytes = checkpoint.bytes;
    proof.ended = checkpoint.end;
    claims.push({ ...checkpoint, what: `checkpoint ${checkpoint.n}` });
  }
  problems.push(...(await problemsOfBytes(source, claims, proof.ended)));
  return { proof, problems };
}

function runOfSession(session: string): string {
  return session.split(".", 1)[0] ?? session;
}

function parseProof(line: string): ProofLine | string {
  try {
    return parseJson("a proof", ProofLine, line);
  } catch (error) {
    return messageOf(error);
  }
}

function problemOfSigner(signed: SignedCheckpoint, known: KnownKeys): string | null {
  if (known.recorderKey !== undefined && signed.key !== known.recorderKey)
    return "it is signed by another key than the run's recorder has";
  return isCheckpointSigned(signed) ? null : "the recorder's signature is wrong";
}

function problemOfSession({ checkpoint }: SignedCheckpoint, { session }: KnownKeys): string | null {
  if (session === undefined || checkpoint.session === session) return null;
  return `it is of session "${checkpoint.session}", not of "${session}"`;
}

function isOf(countersignature: Countersignature, { checkpoint }: SignedCheckpoint): boolean {
  return countersignature.at === checkpoint.bytes && countersignature.hash === checkpoint.sha256;
}

/** Reads the recording once and compares it at every point. After the first difference the later ones say nothing new. */
async function problemsOfBytes(
  source: CastSource,
  claims: readonly Claim[],
  ended: boolean,
): Promise<Problems> {
  const inOrder = claims.toSorted((left, right) => left.bytes - right.bytes);
  const hash = createHash("sha256");
  let at = 0;
  let line = 1;
  let firstLine = 1;
  const take = (bytes: Buffer): void => {
    hash.update(bytes);
    at += bytes.length;
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, end + 1)) line += 1;
  };
  const chunks: AsyncIterable<Buffer> =
    typeof source === "string" ? createReadStream(source, { highWaterMark: 256 * 1024 }) : source;
  for await (const chunk of chunks) {
    let from = 0;
    for (
      let [claim] = inOrder;
      claim !== undefined && claim.bytes <= at + chunk.length - from;
      [claim] = inOrder
    ) {
      const length = claim.bytes - at;
      take(chunk.subarray(from, from + length));
      from += length;
      if (hash.copy().digest("hex") !== claim.sha256)
        return [
          {
            line: firstLine,
            problem: `Bytes changed: what ${claim.what} signed lies in lines ${firstLine} to ${Math.max(firstLine, line - 1)}`,
          },
        ];
      firstLine = line;
      inOrder.shift();
    }
    take(chunk.subarray(from));
  }
  const [missing] = inOrder;
  if (missing !== undefined)
    return [
      {
        line,
        problem: `Recording is cut: ${missing.what} signed ${missing.bytes} bytes, the file has ${at}`,
      },
    ];
  const signed = claims.at(-1)?.bytes ?? 0;
  if (ended && at > signed)
    return [
      { line: firstLine, problem: `Recording has ${at - signed} bytes after its signed end` },
    ];
  return [];
}
