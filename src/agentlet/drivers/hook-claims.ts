import { MAX_ASK_DETAIL } from "../../protocol/agentlet-link.ts";
import type { Report } from "../report-socket.ts";
import type { ToolClaim } from "../states/evidence.ts";
import type { AskClaim, Signal } from "../states/signal.ts";
import { isObject, textOf } from "./structured-judge.ts";

/** What a person reads before an answer. */
const LIMITS = { text: 2048, detail: MAX_ASK_DETAIL, label: 256, options: 16 };

/** What hooks of Claude Code's family say, in the words that Codex shares. Null for a hook that says nothing of the state. */
export function hookSignal({ name, data }: Report): Signal | null {
  const told = (state: Signal["state"]): Signal => ({ channel: "hook", state, evidence: name });
  switch (name) {
    case "UserPromptSubmit":
    case "PreToolUse":
    case "PostToolUse":
      return told("busy");
    case "Stop":
      return { ...told("idle"), endsTurn: true };
    case "PermissionRequest": {
      const fields = isObject(data) ? data : {};
      const input = isObject(fields["tool_input"]) ? fields["tool_input"] : {};
      const tool = textOf(fields["tool_name"]);
      if (tool === "AskUserQuestion") return { ...told("question"), ask: questionOf(input) };
      return { ...told("permission"), ask: permissionOf(tool, input) };
    }
    default:
      return null;
  }
}

/** The tool that such hooks tell of. */
export function toolOfHook({ name, data }: Report): ToolClaim | null {
  if (name === "PreToolUse") return { began: isObject(data) ? textOf(data["tool_name"]) : "" };
  return name === "PostToolUse" || name === "UserPromptSubmit" ? { ended: true } : null;
}

/** What is asked when a tool needs permission. How its dialog is answered is the keyboard's business. */
export function permissionOf(tool: string, input: Record<string, unknown>): AskClaim {
  const command = input["command"];
  const detail = Array.isArray(command) ? command.join(" ") : textOf(command);
  return {
    tool: tool === "" ? null : tool.slice(0, 256),
    text: `Allow ${tool === "" ? "a tool" : tool}?`.slice(0, LIMITS.text),
    detail: (detail || JSON.stringify(input)).slice(0, LIMITS.detail),
    options: [],
  };
}

/** The first question; its options are answered by their numbers. */
export function questionOf(input: Record<string, unknown>): AskClaim {
  const questions: unknown[] = Array.isArray(input["questions"]) ? input["questions"] : [];
  const first = isObject(questions[0]) ? questions[0] : {};
  const options: unknown[] = Array.isArray(first["options"]) ? first["options"] : [];
  return {
    tool: null,
    text: textOf(first["question"]).slice(0, LIMITS.text),
    detail: textOf(first["header"]).slice(0, LIMITS.detail),
    options: options.slice(0, LIMITS.options).map((option, index) => ({
      key: String(index + 1),
      label: textOf(isObject(option) ? option["label"] : option).slice(0, LIMITS.label),
    })),
  };
}

/** The CLI's own name of the session, as its hooks carry it. */
export function sessionOfHook({ data }: Report): string | null {
  const id = isObject(data) ? textOf(data["session_id"]) : "";
  return /^[\w-]{8,128}$/.test(id) ? id : null;
}
