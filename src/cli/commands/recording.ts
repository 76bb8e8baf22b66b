import { realpath } from "node:fs/promises";
import { resolve } from "node:path";
import { rawBytesOf, readIntact, toV2, type CastSource } from "../../protocol/asciicast.ts";
import { verifyAsciicast } from "../../protocol/asciicast-verify.ts";
import { verifyProofs } from "../../protocol/recording-proof-verify.ts";
import { ExitCode } from "../../protocol/outcome.ts";
import type { VerifyResult } from "../../protocol/results.ts";
import { dataOption, defineCommand, type CommandContext } from "../command.ts";
import { resolveDataDir } from "../data-dir.ts";
import { durationOption } from "../durations.ts";
import { humanBytes, humanCount, oneLine } from "../human.ts";
import { listRecordings } from "../list-recordings.ts";
import { UsageError, type Output } from "../output.ts";
import { fitFor } from "../person-terminal.ts";
import { plainTextOf } from "../plain-text.ts";
import { play } from "../play.ts";
import { pour, pourToFile } from "../pour.ts";
import { namedRecording, type NamedRecording, type RecordedSession } from "../recording-source.ts";
import { keysOfRun } from "../run-files.ts";
import { nearest } from "../suggest.ts";

const options = {
  data: dataOption,
  raw: { type: "boolean", help: "cat: the exact bytes that the terminal gave, to a file or pipe" },
  speed: { type: "string", value: "N", help: "play: times faster (default 1)" },
  "idle-limit": {
    type: "string",
    value: "DURATION",
    help: "play: longest pause, such as 2s (default: as the recording says)",
  },
  format: { type: "string", value: "FORMAT", help: "export: v2 (default), txt or raw" },
  output: { type: "string", short: "o", value: "FILE", help: "export: to this file, not stdout" },
} as const;
type Context = CommandContext<typeof options>;

/** `agentkube recording`: what was recorded, as a list, as text, in its own time, checked, or in another format. */
export const command = defineCommand({
  name: "recording",
  summary: "list, show, play, verify and export recordings",
  usage: [
    "recording ls [--data DIR]",
    "recording cat RUN|RUN.SHELL|FILE [--raw]",
    "recording play RUN|RUN.SHELL|FILE [--speed N] [--idle-limit DURATION]",
    "recording verify RUN|RUN.SHELL|FILE [--json]",
    "recording export RUN|RUN.SHELL|FILE [--format v2|txt|raw] [-o FILE]",
  ],
  description:
    "RUN is a run of the data directory, RUN.SHELL a shell that was opened in it (recording ls names them), FILE any asciicast file\n" +
    "(v3 or v2). While playing: space pauses, . steps, q ends.\n" +
    "verify of a run or shell also compares size and SHA-256 with what the manager recorded; exit code 1 when anything is wrong,\n" +
    "3 when the run is live: what is there is right so far, and not sealed.",
  examples: [
    {
      command: "agentkube recording ls",
      does: "every recording, those of shells too, with its size and whether it is verified",
    },
    {
      command: "agentkube recording play demo-7f3k2m9q --speed 2 --idle-limit 1s",
      does: "plays it here",
    },
    {
      command: "agentkube recording cat demo.cast --raw > bytes",
      does: "the bytes that the PTY gave",
    },
    {
      command: "agentkube recording verify demo-7f3k2m9q --json",
      does: "checks it, for a program",
    },
    {
      command: "agentkube recording export demo.cast --format txt -o demo.txt",
      does: "plain text",
    },
  ],
  options,
  positionals: { min: 1, max: 2 },
  run: async (context) => {
    const [action = "", word] = context.positionals;
    const dataDir = resolveDataDir(context.values.data, context.env, context.cwd);
    if (action === "ls") {
      if (word !== undefined) throw new UsageError(`Unexpected word "${word}" after recording ls`);
      await listRecordings(dataDir, context.output);
      return ExitCode.done;
    }
    const act = actions[action];
    if (act === undefined) throw unknownAction(action);
    if (context.output.json && (act === cat || act === playHere))
      throw new UsageError(
        `agentkube recording ${action} gives what the terminal showed, not a document`,
        "leave out --json; recording verify and recording export have one",
      );
    if (word === undefined)
      throw new UsageError(
        `agentkube recording ${action} needs a run, RUN.SHELL or a .cast file`,
        "agentkube recording ls lists the recordings of runs",
      );
    return await act(context, await namedRecording(word, dataDir, context.cwd));
  },
});

const actions: Record<string, (context: Context, recording: NamedRecording) => Promise<number>> = {
  cat,
  play: playHere,
  verify,
  export: exportAs,
};

async function cat({ values, output }: Context, recording: NamedRecording): Promise<number> {
  const asked = values.raw === true ? rawBytesOf : textOf;
  const isShown = output.stdout.isTTY === true;
  await pour(fitFor(output.stdout, asked(recording.open())), output.stdout);
  if (values.raw === true && isShown)
    output.note("Shown as a terminal may have it. Every byte goes to a file: add > FILE");
  return 0;
}

async function playHere(context: Context, recording: NamedRecording): Promise<number> {
  const { values, output, stdin } = context;
  const speed = Number(values.speed ?? "1");
  if (!(speed > 0) || !Number.isFinite(speed))
    throw new UsageError(`Option --speed expected a number above 0, got "${values.speed ?? ""}"`);
  const idle = values["idle-limit"];
  const idleLimitMs = idle === undefined ? null : durationOption("idle-limit", idle);
  const whole = await play(recording.open(), {
    output,
    stdin,
    speed,
    idleLimitMs,
    onSignal: (listener) => context.onSignal(listener),
  });
  return whole || stdin.isTTY ? ExitCode.done : ExitCode.cancelled;
}

async function verify({ output }: Context, recording: NamedRecording): Promise<number> {
  const checked = await withProofs(await verifyAsciicast(recording.open()), recording);
  const result = withManagersRecord(checked, recording.of);
  if (output.json) output.document(result);
  else {
    for (const { line, problem } of result.problems)
      output.line(oneLine(line === 0 ? problem : `line ${line}: ${problem}`));
    const facts = `${humanCount(result.events, "event")}, ${humanBytes(result.bytes)}, SHA-256 ${result.sha256}`;
    if (result.proof !== undefined) output.line(proofLine(result.proof, result));
    if (result.gapBytes !== undefined)
      output.line(`Not recorded: ${result.gapBytes} bytes of output (see the gap markers)`);
    const verdict = verdictOf(result, output);
    output.line(`${verdict}  ${recording.path}: ${facts}`);
  }
  if (isRightSoFar(result)) return ExitCode.refused;
  return result.ok ? ExitCode.done : ExitCode.failed;
}

function isRightSoFar({ live, problems }: VerifyResult): boolean {
  return live === true && problems.length === 0;
}

function verdictOf(result: VerifyResult, output: Output): string {
  if (isRightSoFar(result)) return output.paint("cyan", "LIVE, right so far");
  return result.ok ? output.paint("green", "OK") : output.paint("red", "NOT OK");
}

async function exportAs(context: Context, recording: NamedRecording): Promise<number> {
  const { values, output, cwd } = context;
  const form = values.format ?? "v2";
  const convert = formats[form];
  if (convert === undefined)
    throw new UsageError(`Option --format expected v2, txt or raw, got "${form}"`);
  const converted = convert(recording.open());
  if (values.output === undefined || values.output === "-") {
    if (output.json)
      throw new UsageError("With --json the export goes to a file", "name it with -o FILE");
    await pour(fitFor(output.stdout, converted), output.stdout);
    return 0;
  }
  const path = resolve(cwd, values.output);
  if (await isSameFile(path, recording.path))
    throw new UsageError(`Cannot export "${path}" onto itself`, "name another file with -o");
  const bytes = await pourToFile(converted, path);
  if (output.json) output.document({ path, format: form, bytes });
  else output.note(`Wrote ${humanBytes(bytes)} to ${path}`);
  return 0;
}

const formats: Record<string, (source: CastSource) => AsyncIterable<Buffer | string>> = {
  v2: toV2,
  txt: plainTextOf,
  raw: rawBytesOf,
};

/** What the terminal was given, as the text of the events, which is always valid UTF-8. */
async function* textOf(source: CastSource): AsyncGenerator<string> {
  for await (const item of readIntact(source)) {
    if (item.kind === "event" && item.event.code === "o") yield item.event.data;
  }
}

/** The signed checkpoints lie beside the recording. Of a live run they may be of more than the file's whole lines were. */
async function withProofs(result: VerifyResult, recording: NamedRecording): Promise<VerifyResult> {
  const { of, path } = recording;
  const beside = path.replace(/(?:\.cast)?$/, ".proofs.jsonl");
  const keys = of === null ? {} : { ...(await keysOfRun(of.run)), session: of.session };
  const check = await verifyProofs(beside, recording.open(), keys);
  // A recorder whose key was registered proves what it records, to the end.
  const isOwed = of !== null && !of.live && "recorderKey" in keys && result.bytes > 0;
  const missing = isOwed ? missingProof(check?.proof, result.bytes) : null;
  const problems = [...result.problems, ...(check?.problems ?? [])];
  if (missing !== null) problems.push({ line: 0, problem: missing });
  const proof = check === null ? {} : { proof: check.proof };
  return { ...result, ...proof, ok: result.ok && problems.length === 0, problems };
}

function missingProof(proof: VerifyResult["proof"], bytes: number): string | null {
  if (proof === undefined) return "The proofs beside the recording are missing";
  if (!proof.ended) return "The proofs beside the recording lack its end";
  if (proof.countersignedBytes === bytes) return null;
  return `The manager signed ${proof.countersignedBytes} bytes of the recording, the file has ${bytes}`;
}

function proofLine(
  proof: NonNullable<VerifyResult["proof"]>,
  { bytes, live }: VerifyResult,
): string {
  const { checkpoints, signedBytes, countersignedBytes, ended } = proof;
  if (live === true) return `live: ${signedBytes} of ${bytes} bytes signed so far`;
  const end = ended
    ? "with its end"
    : `cut off, ${bytes - signedBytes} bytes after it are not signed`;
  return `${humanCount(checkpoints, "checkpoint")}: ${signedBytes} bytes signed by the recorder, ${countersignedBytes} by the manager; ${end}`;
}

/** The file may be right in itself and still not be what the manager verified. Line 0 is the whole file. */
function withManagersRecord(result: VerifyResult, of: RecordedSession | null): VerifyResult {
  if (of === null) return result;
  const problems: string[] = [];
  const { sealed, live } = of;
  // Right so far is not verified: what comes may still be wrong, and nothing says yet where it ends.
  if (live) return { ...result, ok: false, live: true };
  if (sealed === null) problems.push("Manager has no size and hash: it was never sealed");
  else {
    if (!sealed.verified) problems.push("Manager never verified this recording");
    if (sealed.bytes !== result.bytes)
      problems.push(`Manager recorded ${sealed.bytes} bytes, the file has ${result.bytes}`);
    if (sealed.sha256 !== result.sha256)
      problems.push(`Manager recorded SHA-256 ${sealed.sha256}, the file has ${result.sha256}`);
  }
  return {
    ...result,
    ok: result.ok && problems.length === 0,
    problems: [...problems.map((problem) => ({ line: 0, problem })), ...result.problems],
  };
}

async function isSameFile(left: string, right: string): Promise<boolean> {
  try {
    return (await realpath(left)) === (await realpath(right));
  } catch {
    return false;
  }
}

function unknownAction(action: string): UsageError {
  const known = ["ls", ...Object.keys(actions)];
  const near = nearest(action, known);
  return new UsageError(
    `Unknown verb "recording ${action}"`,
    near === undefined ? `use one of ${known.join(", ")}` : `did you mean recording ${near}?`,
  );
}
