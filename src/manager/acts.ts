import { randomBytes } from "node:crypto";
import { PlatformError } from "../kit/platform-error.ts";
import type { AgentletCommand } from "../protocol/agentlet-link.ts";
import type { ActResult } from "../protocol/manager-api.ts";
import type { Run } from "./run.ts";

/** Longer than the agentlet waits for the keyboard, a dialog and a proof together. */
const ACT_MS = 90_000;

type Act = Extract<AgentletCommand, { kind: "prompt" | "answer" | "interrupt" }>;
type Unnumbered<T> = T extends unknown ? Omit<T, "request"> : never;

/**
 * Has the agentlet of a run do something to its CLI, and waits for what became of it, which is then on disk as an event.
 * Throws `PlatformError` `run_ended`, `agentlet_away` or `act_unanswered`.
 */
export async function actOn(run: Run, act: Unnumbered<Act>): Promise<ActResult> {
  if (!run.isLive)
    throw new PlatformError("run_ended", `Run "${run.id}" has ended`, {
      fix: "see agentkube ps for live runs",
    });
  const request = randomBytes(8).toString("hex");
  const { promise, resolve, reject } = Promise.withResolvers<ActResult>();
  const unwatch = run.watch((message) => {
    if (!("event" in message) || message.event.type !== "act") return;
    const { event } = message;
    if (event.request !== request || event.phase === "accepted") return;
    resolve({ phase: event.phase, message: event.message });
  });
  const late = setTimeout(() => {
    const text = `The agentlet of run "${run.id}" did not say within ${ACT_MS} ms what became of it`;
    reject(new PlatformError("act_unanswered", text, { fix: `see agentkube logs ${run.id}` }));
  }, ACT_MS);
  try {
    if (!run.relay.send({ ...act, request }))
      throw new PlatformError("agentlet_away", `The agentlet of run "${run.id}" is not connected`, {
        fix: "try again in a moment",
        retryable: true,
      });
    return await promise;
  } finally {
    clearTimeout(late);
    unwatch();
  }
}
