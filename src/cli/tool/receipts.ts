import { createHmac, timingSafeEqual } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import * as z from "zod";
import { parseJson } from "../../kit/json-lines.ts";
import { errnoOf, messageOf, PlatformError } from "../../kit/platform-error.ts";
import { type ChainedLine, hashOf, parseChainLine } from "../../protocol/audit-chain.ts";
import type { AuditRecord } from "../../protocol/audit.ts";
import { verifyAudit } from "../../protocol/audit-verify.ts";
import { PublicKey } from "../../protocol/countersignature.ts";
import { RunId } from "../../protocol/ids.ts";
import type { ReceiptVerifyResult } from "../../protocol/results.ts";
import { argumentsText } from "../../tool-runner/arguments.ts";
import { UsageError } from "../output.ts";
import { findRun, listRuns } from "../run-files.ts";

type OfType<T extends AuditRecord["type"]> = Extract<AuditRecord, { type: T }>;

/** An audit that a person named: of a run, or a file with or without the run's other files beside it. */
export interface NamedAudit {
  readonly path: string;
  /** null for a file that lies alone */
  readonly run: RunId | null;
  readonly ended: boolean;
  /** as registered with the manager; null when nothing says */
  readonly runnerKey: string | null;
  readonly managerKey: string | null;
  /** what is odd about where the keys come from */
  readonly doubts: readonly string[];
  /** lines of audit.proofs.jsonl */
  readonly proofs: readonly string[];
}

/** Keys that the person got another way; they win over what lies beside the audit. */
export interface GivenKeys {
  readonly runner: string | undefined;
  readonly manager: string | undefined;
}

const RunKeys = z.looseObject({
  info: z.looseObject({ run: RunId, phase: z.string() }),
  runnerKey: PublicKey.optional(),
  managerKey: PublicKey.optional(),
});
const ManagerKey = z.looseObject({ publicKey: PublicKey });

/** Finds what `word` names. Throws a usage error that says what is there. */
export async function namedAudit(
  word: string | undefined,
  place: { dataDir: string; cwd: string },
  keys: GivenKeys,
): Promise<NamedAudit> {
  for (const [option, key] of Object.entries(keys))
    if (key !== undefined && !PublicKey.safeParse(key).success)
      throw new UsageError(
        `Option --${option}-key expected ed25519: and 43 characters, got "${String(key).slice(0, 80)}"`,
      );
  const path = await pathOf(word, place);
  const dir = dirname(path);
  const run = await readIfThere(join(dir, "run.json"), (text) =>
    parseJson("run.json", RunKeys, text),
  );
  const manager = await readIfThere(join(dir, "..", "..", "manager-key.json"), (text) =>
    parseJson("manager-key.json", ManagerKey, text),
  );
  const doubts: string[] = [];
  const registered = run?.managerKey ?? null;
  const own = manager?.publicKey ?? null;
  if (keys.manager === undefined && registered !== null && own !== null && registered !== own)
    doubts.push(
      "the run was taken in under another manager key than the one of this data directory; name the right one with --manager-key",
    );
  if (run !== null && run.runnerKey === undefined && keys.runner === undefined)
    doubts.push("no key of a tool-runner was registered for this run: it is of an earlier build");
  return {
    path,
    run: run?.info.run ?? null,
    ended: run?.info.phase === "ended",
    runnerKey: keys.runner ?? run?.runnerKey ?? null,
    managerKey: keys.manager ?? own ?? registered,
    doubts,
    proofs: (await readIfThere(join(dir, "audit.proofs.jsonl"), wholeLines)) ?? [],
  };
}

/** Checks the whole of it: chain, signatures, receipts, countersignatures. */
export async function verifyNamed(audit: NamedAudit): Promise<ReceiptVerifyResult> {
  const verdict = await verifyAudit(textLinesOf(audit), audit);
  const problems = [
    ...audit.doubts.map((problem) => ({ line: 0, problem })),
    ...(await tornProblem(audit)),
    ...verdict.problems,
  ];
  return { ...verdict, managerKey: audit.managerKey, ok: problems.length === 0, problems };
}

/** Everything that an audit holds of one call. */
export interface CallInAudit {
  call: string;
  started: OfType<"call_started"> | null;
  requests: OfType<"request">[];
  overflow: OfType<"overflow"> | null;
  end: OfType<"call"> | null;
}

/** The calls of an audit in the order in which they began. Lines that are no record are left out: verify names them. */
export async function callsOf(audit: NamedAudit): Promise<CallInAudit[]> {
  const calls = new Map<string, CallInAudit>();
  const of = (call: string): CallInAudit => {
    const known = calls.get(call) ?? {
      call,
      started: null,
      requests: [],
      overflow: null,
      end: null,
    };
    calls.set(call, known);
    return known;
  };
  for await (const text of textLinesOf(audit)) {
    const record = readLine(text)?.record;
    if (record?.type === "call_started") of(record.call).started = record;
    if (record?.type === "call") of(record.call).end = record;
    if (record?.type === "request" && record.call !== null) of(record.call).requests.push(record);
    if (record?.type === "overflow" && record.call !== null) of(record.call).overflow = record;
  }
  return [...calls.values()];
}

/** Whether a call had these arguments; null when the run's key of them is not there or is not the one that was used. */
export async function hadArguments(
  audit: NamedAudit,
  { started }: CallInAudit,
  value: unknown,
): Promise<boolean | null> {
  const text = await readIfThere(join(dirname(audit.path), "audit-key"), (found) => found.trim());
  if (text === null || started === null) return null;
  const key = Buffer.from(text, "base64");
  let named: string | null = null;
  for await (const line of textLinesOf(audit)) {
    const record = readLine(line)?.record;
    if (record?.type === "epoch_started") named = record.argumentsKey;
    if (record?.type === "call_started" && record.call === started.call) break;
  }
  if (named !== hashOf(key)) return null;
  const digest = createHmac("sha256", key).update(argumentsText(value)).digest();
  const noted = Buffer.from(started.arguments, "hex");
  return noted.length === digest.length && timingSafeEqual(noted, digest);
}

async function pathOf(
  word: string | undefined,
  { dataDir, cwd }: { dataDir: string; cwd: string },
): Promise<string> {
  if (word === undefined) {
    const newest = (await listRuns(dataDir)).runs[0];
    if (newest !== undefined) return join(newest.dir, "audit.jsonl");
    throw new UsageError(`There is no run in "${dataDir}"`, "name a run or an audit.jsonl");
  }
  const path = resolve(cwd, word);
  if (word.includes("/") || word.endsWith(".jsonl") || !RunId.safeParse(word).success) {
    const found = await stat(path).catch((error: unknown) => {
      throw new UsageError(
        `Cannot read audit "${path}": ${errnoOf(error) ?? messageOf(error)}`,
        "give a run id or the path of an audit.jsonl; agentkube ps --all lists runs",
      );
    });
    return found.isDirectory() ? join(path, "audit.jsonl") : path;
  }
  return join((await findRun(dataDir, word)).dir, "audit.jsonl");
}

/** Whole lines; the last one may be half written while the run lives. */
async function* textLinesOf({ path }: NamedAudit): AsyncGenerator<string> {
  const size = await endOfWholeLines(path);
  if (size === 0) return;
  const input = createReadStream(path, { end: size - 1 });
  try {
    yield* createInterface({ input, crlfDelay: 0 });
  } finally {
    input.destroy();
  }
}

async function tornProblem(audit: NamedAudit): Promise<{ line: number; problem: string }[]> {
  const size = (await stat(audit.path).catch(() => null))?.size ?? 0;
  const torn = size - (await endOfWholeLines(audit.path));
  if (torn === 0 || (audit.run !== null && !audit.ended)) return [];
  return [{ line: 0, problem: `the last ${torn} bytes are no whole line` }];
}

/** The offset after the last newline. Throws `PlatformError` when the file cannot be read. */
async function endOfWholeLines(path: string): Promise<number> {
  let end = 0;
  let at = 0;
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
      const newline = (chunk as Buffer).lastIndexOf(10);
      if (newline !== -1) end = at + newline + 1;
      at += (chunk as Buffer).length;
    }
  } catch (error) {
    throw new PlatformError(
      "audit_missing",
      `Cannot read the audit "${path}": ${errnoOf(error) ?? messageOf(error)}`,
      { path, fix: "a run has an audit from the start of its tool-runner on", cause: error },
    );
  }
  return end;
}

function readLine(text: string): ChainedLine | null {
  try {
    return parseChainLine(text);
  } catch {
    return null;
  }
}

/** Null when the file is not there. Throws for one that is there and cannot be used. */
async function readIfThere<T>(path: string, read: (text: string) => T): Promise<T | null> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return null;
    throw new PlatformError("audit_missing", `Cannot read "${path}": ${errnoOf(error)}`, { path });
  }
  return read(text);
}

function wholeLines(text: string): string[] {
  return text
    .slice(0, text.lastIndexOf("\n") + 1)
    .split("\n")
    .slice(0, -1);
}
