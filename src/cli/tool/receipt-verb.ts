import { ExitCode } from "../../protocol/outcome.ts";
import { resolveDataDir } from "../data-dir.ts";
import { humanCount, humanSpan, humanTable, oneLine } from "../human.ts";
import { UsageError } from "../output.ts";
import { nearest } from "../suggest.ts";
import type { ToolAction, ToolContext } from "./action.ts";
import {
  callsOf,
  hadArguments,
  namedAudit,
  type CallInAudit,
  type NamedAudit,
  verifyNamed,
} from "./receipts.ts";

const SHORT_ID = 12;

/** `agentkube tool receipt`: what calls left behind, and whether it is all there and unchanged. */
export const receipt: ToolAction = {
  words: { min: 1, max: 3, expected: "ls, show or verify" },
  async run(context, [verb = "", word, call]) {
    const { values, env, cwd } = context;
    const act = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined;
    if (act === undefined) throw unknownVerb(verb);
    if (verb === "show" && call === undefined)
      throw new UsageError(
        "agentkube tool receipt show needs a run and a call",
        "agentkube tool receipt ls RUN lists the calls",
      );
    if (verb !== "show" && call !== undefined)
      throw new UsageError(`Unexpected word "${call}" after agentkube tool receipt ${verb}`);
    const place = { dataDir: resolveDataDir(values.data, env, cwd), cwd };
    const keys = { runner: values["runner-key"], manager: values["manager-key"] };
    return await act(context, await namedAudit(word, place, keys), call ?? "");
  },
};

const verbs: Readonly<
  Record<string, (context: ToolContext, audit: NamedAudit, call: string) => Promise<number>>
> = { ls: list, show, verify };

async function list({ output }: ToolContext, audit: NamedAudit): Promise<number> {
  const calls = await callsOf(audit);
  if (output.json) output.document({ run: audit.run, calls: calls.map((each) => factsOf(each)) });
  else if (calls.length === 0) output.note(`No call in "${audit.path}"`);
  else {
    const rows = calls.map(({ call, started, end, requests, overflow }) => [
      call.slice(0, SHORT_ID),
      started?.time ?? end?.time ?? "–",
      oneLine(started?.tool ?? end?.tool ?? "–"),
      oneLine(started?.operation ?? end?.operation ?? "–"),
      end === null ? "running" : `${end.outcome}${end.exitCode === null ? "" : ` ${end.exitCode}`}`,
      end === null ? "–" : humanSpan(end.durationMs),
      String(requests.length + (overflow?.requests ?? 0)),
      String(end?.masked ?? 0),
    ]);
    const head = ["CALL", "STARTED", "TOOL", "OPERATION", "ENDED", "TOOK", "REQUESTS", "MASKED"];
    for (const line of humanTable(head, rows)) output.line(line);
  }
  return ExitCode.done;
}

async function show(context: ToolContext, audit: NamedAudit, id: string): Promise<number> {
  const { output, values } = context;
  const call = chooseCall(await callsOf(audit), id);
  const { ok, problems } = await verifyNamed(audit);
  const asked = values.args === undefined ? null : parseArguments(values.args);
  const fits = asked === null ? undefined : await hadArguments(audit, call, asked.value);
  if (output.json) {
    output.document({
      run: audit.run,
      ...factsOf(call),
      runnerKey: audit.runnerKey,
      auditVerified: ok,
      ...(fits === undefined ? {} : { argumentsFit: fits }),
    });
  } else {
    for (const line of describe(call)) output.line(line);
    if (fits !== undefined) output.line(`these arguments  ${saysOfArguments(fits)}`);
    output.line(
      `audit            ${ok ? output.paint("green", "OK") : output.paint("red", `NOT OK, ${humanCount(problems.length, "problem")}: agentkube tool receipt verify`)}`,
    );
  }
  return ok && fits !== false && fits !== null ? ExitCode.done : ExitCode.failed;
}

async function verify({ output }: ToolContext, audit: NamedAudit): Promise<number> {
  const result = await verifyNamed(audit);
  if (output.json) output.document(result);
  else {
    for (const { line, problem } of result.problems)
      output.line(oneLine(line === 0 ? problem : `line ${line}: ${problem}`));
    const signed =
      result.countersigned === null
        ? "no countersignature of the manager could be checked"
        : `countersigned by the manager up to record ${result.countersigned}`;
    const verdict = result.ok ? output.paint("green", "OK") : output.paint("red", "NOT OK");
    output.line(
      `${verdict}  ${audit.path}: ${humanCount(result.records, "record")}, ${humanCount(result.calls, "receipt")}, ${humanCount(result.requests, "request")}, ${humanCount(result.epochs, "epoch")}, ${signed}`,
    );
    if (audit.runnerKey === null)
      output.note(
        "The run's registered key is not beside this file: the receipts are by one key, whose it is --runner-key would say",
      );
  }
  return result.ok ? ExitCode.done : ExitCode.failed;
}

function chooseCall(calls: readonly CallInAudit[], id: string): CallInAudit {
  const found = calls.filter(({ call }) => id.length >= 4 && call.startsWith(id));
  if (found.length === 1 && found[0] !== undefined) return found[0];
  throw new UsageError(
    found.length === 0
      ? `No call "${id.slice(0, 64)}" in this audit`
      : `${found.length} calls begin with "${id}"`,
    "agentkube tool receipt ls RUN lists the calls; at least 4 characters of one are needed",
  );
}

function factsOf({ call, started, end, requests, overflow }: CallInAudit): Record<string, unknown> {
  return {
    call,
    tool: started?.tool ?? end?.tool ?? null,
    operation: started?.operation ?? end?.operation ?? null,
    startedAt: started?.time ?? null,
    outcome: end?.outcome ?? null,
    exitCode: end?.exitCode ?? null,
    tier: end?.tier ?? null,
    durationMs: end?.durationMs ?? null,
    masked: end?.masked ?? null,
    flagged: end?.flagged ?? [],
    receipt: end?.receipt ?? null,
    requests,
    overflow,
  };
}

function* describe({ call, started, end, requests, overflow }: CallInAudit): Generator<string> {
  const row = (name: string, value: string): string => `${name.padEnd(17)}${oneLine(value)}`;
  yield row("call", call);
  yield row(
    "tool",
    `${started?.tool ?? end?.tool ?? "–"} ${started?.operation ?? end?.operation ?? ""}`,
  );
  yield row(
    "started",
    started === null ? "never: it was refused" : `${started.time} by ${started.face}`,
  );
  if (end === null) yield row("ended", "not yet");
  else {
    const code = end.exitCode === null ? "" : ` ${end.exitCode}`;
    const tier = end.tier === null ? "no sandbox" : `tier ${end.tier}`;
    yield row("ended", `${end.outcome}${code} after ${humanSpan(end.durationMs)}, ${tier}`);
    if (end.detail !== undefined) yield row("cause", end.detail.cause);
    yield row("masked", `${end.masked} times`);
    if (end.flagged !== undefined)
      yield row("looks like", `${end.flagged.join(", ")} in its output`);
  }
  yield row("tool digest", started?.digest ?? "–");
  yield row("policy", started?.policy ?? "–");
  yield row("arguments", started === null ? "–" : `HMAC ${started.arguments}`);
  for (const request of requests) {
    const version =
      request.credentialVersion == null ? "" : `, version ${request.credentialVersion}`;
    const credential =
      request.credential === null ? "no credential" : `with ${request.credential}${version}`;
    const rule = request.template === undefined ? "" : ` (${request.template})`;
    yield row(
      "request",
      `${request.method} ${request.host}${request.path}${rule}: ${request.verdict} ${request.status ?? "no status"}, ${credential}, ${request.bytesUp} up, ${request.bytesDown} down, ${request.masked} masked`,
    );
  }
  if (overflow !== null)
    yield row("and", `${humanCount(overflow.requests, "request")} that are only counted`);
}

function saysOfArguments(fits: boolean | null): string {
  if (fits === null) return "cannot be checked: the run's audit-key is not there";
  return fits ? "are those of the call" : "are not those of the call";
}

function parseArguments(text: string): { value: unknown } {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    throw new UsageError("Option --args expected one JSON object, got text that is not JSON");
  }
}

function unknownVerb(verb: string): UsageError {
  const known = Object.keys(verbs);
  const near = nearest(verb, known);
  return new UsageError(
    `Unknown verb "tool receipt ${verb}"`,
    near === undefined ? `use one of ${known.join(", ")}` : `did you mean tool receipt ${near}?`,
  );
}
