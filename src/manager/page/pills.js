// Coloured words: how a run, a call or a recording stands.
import { h } from "./dom.js";

/** States in which the agent can do nothing until a person does something. */
const WAITING = new Set(["permission", "question", "blocked"]);

/** `tone` is good, bad, warn, live or plain. */
export function pill(text, tone, title) {
  return h("span", { class: `pill ${tone}`, title }, text.replaceAll("_", " "));
}

export function isWaiting(info) {
  return info.end === null && WAITING.has(info.state);
}

/** Outcome and state of a run. */
export function runPills(info) {
  if (info.end === null) {
    const phase = info.phase === "running" ? "live" : info.phase;
    return [
      pill(phase, "live"),
      info.state !== phase && pill(info.state, isWaiting(info) ? "warn" : "plain"),
    ];
  }
  const tones = { succeeded: "good", failed: "bad", refused: "bad", cancelled: "warn" };
  return [
    pill(info.end.outcome, tones[info.end.outcome] ?? "plain"),
    info.end.reason !== info.end.outcome && pill(info.end.reason, "plain"),
  ];
}

/** Whether the recording was proved by its hash. */
export function proofPill(info) {
  if (info.recording === null)
    return info.committedBytes > 0 ? pill("recording", "live") : pill("no recording", "plain");
  return info.recording.verified
    ? pill("verified", "good", `SHA-256 ${info.recording.sha256}`)
    : pill("not verified", "bad", `SHA-256 ${info.recording.sha256}`);
}

/** How long a run took, or takes, in milliseconds. */
export function runDuration(info) {
  const end = info.endedAt === null ? Date.now() : Date.parse(info.endedAt);
  return Math.max(0, end - Date.parse(info.startedAt));
}
