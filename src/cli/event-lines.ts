import { AgentletEvent, type Ask } from "../protocol/agentlet-link.ts";
import { AuditRecord, type ModelUsage } from "../protocol/audit.ts";
import { humanBytes, humanCount, humanSpan, oneLine } from "./human.ts";
import type { Output, Style } from "./output.ts";

/** A line of `events.jsonl` for a person; null for one that this build does not know. */
export function eventLine(line: string, output: Pick<Output, "paint">): string | null {
  const parsed = AgentletEvent.safeParse(withoutSeq(line));
  if (!parsed.success) return null;
  const event = parsed.data;
  const head = `${output.paint("dim", clock(event.time))}  `;
  switch (event.type) {
    case "state":
      return `${head}${output.paint("cyan", event.state)}  seen by ${event.channel}: ${oneLine(event.evidence)}${askedBy(event.ask)}`;
    case "input":
      return `${head}keyboard  in the hands of ${event.hands === "person" ? "a person" : "automation"}${event.window === undefined ? "" : ` at window ${event.window.slice(0, 4)}`}`;
    case "act": {
      const style: Style =
        event.phase === "done" ? "green" : event.phase === "accepted" ? "dim" : "red";
      const ask = event.ask === null ? "" : ` ${event.ask}`;
      return `${head}${event.act}${ask}  ${output.paint(style, event.phase)} by ${oneLine(event.by)}: ${oneLine(event.message)}`;
    }
    case "heartbeat": {
      const quiet =
        event.lastOutputMsAgo === null
          ? "no output yet"
          : `quiet ${humanSpan(event.lastOutputMsAgo)}`;
      return output.paint(
        "dim",
        `${clock(event.time)}  heartbeat  ${humanBytes(event.outputOffset)} of output, ${quiet}, ${event.processes} processes, ${humanBytes(event.memoryBytes)}, ${humanSpan(event.cpuMs)} CPU${writtenOf(event)}${usingOf(event.tool)}`,
      );
    }
    case "notice":
      return `${head}${output.paint("yellow", "notice")}  ${oneLine(event.message)}`;
    case "screen":
      return `${head}screen\n${event.text
        .split("\n")
        .map((row) => `    ${oneLine(row)}`.trimEnd())
        .join("\n")}`;
    case "shell":
      return `${head}shell ${event.grant_id}  ${event.change}: ${oneLine(event.detail)}`;
    case "ended": {
      const { outcome, reason, exitCode, signal, detail } = event.end;
      const code = signal ?? (exitCode === null ? "" : ` ${exitCode}`);
      const cause = detail === undefined ? "" : `: ${oneLine(detail.cause)}`;
      const fix = detail?.fix === undefined ? "" : ` (fix: ${oneLine(detail.fix)})`;
      const style: Style = outcome === "succeeded" ? "green" : "red";
      return (
        `${head}${output.paint(style, outcome)}  ${reason} ${code.trim()}`.trimEnd() + cause + fix
      );
    }
  }
}

function writtenOf(heartbeat: Extract<AgentletEvent, { type: "heartbeat" }>): string {
  const { transcriptBytes: bytes, lastTranscriptMsAgo: ago } = heartbeat;
  if (bytes == null) return "";
  return `, transcript ${humanBytes(bytes)}${ago == null ? "" : ` grew ${humanSpan(ago)} ago`}`;
}

function usingOf(tool: { name: string; ageMs: number } | null | undefined): string {
  return tool == null ? "" : `, using ${oneLine(tool.name)} for ${humanSpan(tool.ageMs)}`;
}

function askedBy(ask: Ask | undefined): string {
  if (ask === undefined) return "";
  const tool = ask.tool === null ? "" : `${oneLine(ask.tool)}: `;
  const options = ask.options
    .map(({ key, label }) => `${oneLine(key)} ${oneLine(label)}`)
    .join(" | ");
  return `\n    ask ${ask.id}  ${tool}${oneLine(ask.text)} ${oneLine(ask.detail)}${options === "" ? "" : `  [${options}]`}`;
}

/** A line of `audit.jsonl` for a person; null for one that this build does not know. */
export function auditLine(line: string, output: Output): string | null {
  const parsed = AuditRecord.safeParse(withoutSeq(line));
  if (!parsed.success) return null;
  const record = parsed.data;
  const head = `${output.paint("dim", clock(record.time))}  `;
  switch (record.type) {
    case "call_started":
      return `${head}call ${oneLine(record.tool)} ${oneLine(record.operation)}  started by ${record.face}`;
    case "call": {
      const style: Style =
        record.outcome === "completed" && (record.exitCode ?? 0) === 0 ? "green" : "red";
      const code = record.exitCode === null ? "" : ` ${record.exitCode}`;
      const cause = record.detail === undefined ? "" : `: ${oneLine(record.detail.cause)}`;
      const flagged =
        record.flagged === undefined
          ? ""
          : `, ${output.paint("yellow", `its output looks like ${oneLine(record.flagged.join(", "))}`)}`;
      return `${head}call ${oneLine(record.tool)} ${oneLine(record.operation)}  ${output.paint(style, `${record.outcome}${code}`)} in ${humanSpan(record.durationMs)}, ${humanCount(record.requests, "request")}, ${record.masked} masked${flagged}${cause}`;
    }
    case "request": {
      const allowed = record.verdict.startsWith("allowed");
      const credential = record.credential === null ? "no credential" : `with ${record.credential}`;
      return `${head}${record.source} request ${oneLine(record.method)} ${oneLine(record.host)}${oneLine(record.path)}  ${output.paint(allowed ? "green" : "red", record.verdict)} ${record.status ?? "no status"}, ${credential}, ${humanBytes(record.bytesUp)} up, ${humanBytes(record.bytesDown)} down, ${humanSpan(record.durationMs)}${usageOf(record.usage)}`;
    }
    case "epoch_started":
      return output.paint(
        "dim",
        `${clock(record.time)}  tool-runner started, epoch ${record.epoch ?? "?"}`,
      );
    case "overflow":
      return `${head}${output.paint("yellow", "overflow")}  ${humanCount(record.requests, "more request")} counted only: ${Object.entries(
        record.verdicts,
      )
        .map(([verdict, count]) => `${count} ${verdict}`)
        .join(", ")}`;
    case "credential": {
      const what =
        record.version === null
          ? output.paint("red", `has no value: ${oneLine(record.problem ?? "unknown")}`)
          : `version ${record.version}`;
      return `${head}secret ${oneLine(record.secret)}  ${what}`;
    }
    case "budget":
      return `${head}${output.paint("red", "model budget reached")}  ${record.limit}: ${record.used} of ${record.allowed}`;
  }
}

function usageOf(usage: ModelUsage | undefined): string {
  if (usage === undefined) return "";
  return usage === "unknown"
    ? ", tokens unknown"
    : `, ${usage.inputTokens} tokens in, ${usage.outputTokens} out`;
}

/** The value of a JSON line without its number; undefined when it is no JSON object. */
function withoutSeq(line: string): unknown {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== "object" || value === null) return undefined;
    const { seq: _, ...rest } = value as Record<string, unknown>;
    return rest;
  } catch {
    return undefined;
  }
}

function clock(time: string): string {
  return time.replace("T", " ").replace(/\.\d+Z$|Z$/, "Z");
}
