import * as z from "zod";
import { AgentletCommand, AgentletEvent, AgentletMessage, AttachMessage } from "./agentlet-link.ts";
import { AuditMessage, AuditRecord } from "./audit.ts";
import { AuditAck } from "./audit-chain.ts";
import { ChildStatus, SealedRecording } from "./child-status.ts";
import { ExitPayload, MarkerPayload, RecorderReply, ResizePayload } from "./frames.ts";
import { Countersignature } from "./countersignature.ts";
import {
  FinishRun,
  ManagerFile,
  OpenShell,
  RegisterRun,
  RunInfo,
  ShellInfo,
} from "./manager-api.ts";
import { Agent } from "./agent-manifest.ts";
import { ConfigMap, Secret } from "./manifest.ts";
import { Tool } from "./tool-manifest.ts";
import { MetricList } from "./metrics.ts";
import { RunEnd } from "./outcome.ts";
import { Challenge, Proof } from "./proof.ts";
import { RecorderMessage, RecordingReply } from "./recording-link.ts";
import {
  DoctorResult,
  ReceiptVerifyResult,
  RunResult,
  ToolCallResult,
  ToolExplanation,
  VerifyResult,
} from "./results.ts";
import { AgentletBoot, ChildCommand, RecorderBoot, RunnerBoot, RunSpec } from "./run-spec.ts";
import { ApiError, ToolCallReply, ToolCallRequest, ToolList } from "./tool-api.ts";

/** One contract that can be asked for by name. `secret` values never appear in a schema, only their shape. */
export interface Contract {
  name: string;
  room: "manifest" | "run" | "boot" | "recorder" | "manager" | "agentlet" | "tools" | "result";
  about: string;
  schema: z.ZodType;
}

/** Every contract between programs, and between a person and the programs, in the order people meet them. */
export const contracts: readonly Contract[] = [
  contract("Agent", "manifest", "an Agent manifest", Agent),
  contract("Tool", "manifest", "a Tool manifest", Tool),
  contract("Secret", "manifest", "a Secret document, read locally", Secret),
  contract("ConfigMap", "manifest", "a ConfigMap document, read locally", ConfigMap),
  contract("RunSpec", "run", "the file that AGENTKUBE_RUN_SPEC names", RunSpec),
  contract("RunEnd", "run", "how a run ended", RunEnd),
  contract("AgentletBoot", "boot", "first line on the agentlet's standard input", AgentletBoot),
  contract("RecorderBoot", "boot", "first line on the recorder's standard input", RecorderBoot),
  contract("RunnerBoot", "boot", "first line on the tool-runner's standard input", RunnerBoot),
  contract("ChildCommand", "boot", "later lines on a child's standard input", ChildCommand),
  contract("ChildStatus", "boot", "lines on a child's standard output", ChildStatus),
  contract("Challenge", "recorder", "first line of the frame and marker sockets", Challenge),
  contract("Proof", "recorder", "the answer to a challenge", Proof),
  contract("ResizePayload", "recorder", "payload of a resize frame", ResizePayload),
  contract("MarkerPayload", "recorder", "payload of a marker frame", MarkerPayload),
  contract("ExitPayload", "recorder", "payload of an exit frame", ExitPayload),
  contract(
    "RecorderReply",
    "recorder",
    "lines from the recorder on the frame socket",
    RecorderReply,
  ),
  contract(
    "RecorderMessage",
    "recorder",
    "text messages of /v1/recordings/{session}, up",
    RecorderMessage,
  ),
  contract(
    "RecordingReply",
    "recorder",
    "text messages of /v1/recordings/{session}, down",
    RecordingReply,
  ),
  contract("SealedRecording", "recorder", "size and hash of a finished recording", SealedRecording),
  contract("ManagerFile", "manager", "manager.json in the data directory", ManagerFile),
  contract("RegisterRun", "manager", "POST /v1/runs", RegisterRun),
  contract("RunInfo", "manager", "GET /v1/runs/{run}", RunInfo),
  contract("OpenShell", "manager", "POST /v1/runs/{run}/shells", OpenShell),
  contract("ShellInfo", "manager", "a shell of a run, GET /v1/runs/{run}/shells", ShellInfo),
  contract("MetricList", "manager", "GET /v1/metrics", MetricList),
  contract("FinishRun", "manager", "POST /v1/runs/{run}/end", FinishRun),
  contract(
    "AgentletMessage",
    "agentlet",
    "text messages of /v1/runs/{run}/agentlet, up",
    AgentletMessage,
  ),
  contract(
    "AgentletCommand",
    "agentlet",
    "text messages of /v1/runs/{run}/agentlet, down",
    AgentletCommand,
  ),
  contract("AgentletEvent", "agentlet", "an event of a run, a line of events.jsonl", AgentletEvent),
  contract("AttachMessage", "agentlet", "text messages of /v1/runs/{run}/attach", AttachMessage),
  contract(
    "AuditRecord",
    "tools",
    "a tool call or a boundary request, a line of audit.jsonl",
    AuditRecord,
  ),
  contract("AuditMessage", "tools", "messages of /v1/runs/{run}/audit, up", AuditMessage),
  contract("AuditAck", "tools", "messages of /v1/runs/{run}/audit, down", AuditAck),
  contract(
    "Countersignature",
    "manager",
    "what the manager signs of an audit or a recording that it has on disk",
    Countersignature,
  ),
  contract("ToolList", "tools", "GET /v1/tools of the tool-runner", ToolList),
  contract("ToolCallRequest", "tools", "POST /v1/tools/TOOL/OPERATION", ToolCallRequest),
  contract("ToolCallReply", "tools", "the answer to a tool call", ToolCallReply),
  contract("ApiError", "tools", "the body of every refused HTTP request", ApiError),
  contract("RunResult", "result", "last line of run --json", RunResult),
  contract("ToolExplanation", "result", "tool call --explain --json", ToolExplanation),
  contract("ToolCallResult", "result", "last line of tool call --json", ToolCallResult),
  contract("VerifyResult", "result", "last line of recording verify --json", VerifyResult),
  contract(
    "ReceiptVerifyResult",
    "result",
    "last line of tool receipt verify --json",
    ReceiptVerifyResult,
  ),
  contract("DoctorResult", "result", "last line of doctor --json", DoctorResult),
];

/** The JSON Schema (draft 2020-12) of what a sender may write. */
export function jsonSchemaOf({ name, about, schema }: Contract): Record<string, unknown> {
  const json = z.toJSONSchema(schema, {
    io: "input",
    override: ({ zodSchema, jsonSchema }) => {
      // A reserved field is an optional `any` with a refusing check, which JSON Schema would otherwise show as "anything goes".
      const { def } = zodSchema._zod;
      const isAny = def.type === "optional" && def.innerType._zod.def.type === "any";
      if (isAny && (def.checks?.length ?? 0) > 0) jsonSchema.not = {};
      // zod names some string checks as formats, which strict validators refuse; the pattern beside them says it all.
      if (jsonSchema.pattern !== undefined) delete jsonSchema.format;
    },
  });
  return { title: name, description: about, ...json };
}

function contract(
  name: string,
  room: Contract["room"],
  about: string,
  schema: z.ZodType,
): Contract {
  return { name, room, about, schema };
}
