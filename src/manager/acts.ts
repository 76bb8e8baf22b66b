import { randomBytes } from "node:crypto";
import { PlatformError } from "../kit/platform-error.ts";
import type { AgentletCommand } from "../protocol/agentlet-link.ts";
import type { ActResult } from "../protocol/manager-api.ts";
import type { Run } from "./run.ts";

/** Longer than the agentlet waits for the keyboard, a dialog and a proof together. */
const ACT_MS = 90_000;
/** How long the agentlet may take to say what became of an act that was taken back. */
const WITHDRAW_MS = 2000;

type Act = Extract<AgentletCommand, { kind: "prompt" | "answer" | "interrupt" }>;
type Unnumbered<T> = T extends unknown ? Omit<T, "request"> : never;

/**
 * Has the agentlet of a run do something to its CLI, and waits for what became of it, which is then on disk as an event. When whoever
 * asks goes away first, or it takes too long, what has not been typed by then is taken back.
 * Throws `PlatformError` `run_ended`, `agentlet_away` or `act_unanswered`.
 */
export async function actOn(run: Run, act: Unnumbered<Act>, gone: AbortSignal): Promise<ActResult> {
  if (!run.isLive) throw ended(run, "");
  const request = randomBytes(8).toString("hex");
  const { promise, resolve, reject } = Promise.withResolvers<ActResult>();
  const unwatch = run.watch((message) => {
    if ("kind" in message) {
      if (message.info.phase === "ended")
        reject(ended(run, " before it was known what became of it"));
      return;
    }
    const { event } = message;
    if (event.type !== "act" || event.request !== request || event.phase === "accepted") return;
    resolve({ phase: event.phase, message: event.message });
  });
  let late: NodeJS.Timeout | undefined;
  const withdraw = (reason: string) => {
    run.relay.withdraw({ kind: "withdraw", request, reason });
    clearTimeout(late);
    late = setTimeout(() => {
      const text = `The agentlet of run "${run.id}" did not say within ${ACT_MS} ms what became of it`;
      reject(new PlatformError("act_unanswered", text, { fix: `see agentkube logs ${run.id}` }));
    }, WITHDRAW_MS);
  };
  const leave = () => withdraw("whoever asked for it has gone");
  try {
    if (gone.aborted) throw gone.reason;
    if (!run.relay.send({ ...act, request }))
      throw new PlatformError("agentlet_away", `The agentlet of run "${run.id}" is not connected`, {
        fix: "try again in a moment",
        retryable: true,
      });
    gone.addEventListener("abort", leave);
    late = setTimeout(() => withdraw(`it was not done within ${ACT_MS} ms`), ACT_MS);
    return await promise;
  } finally {
    gone.removeEventListener("abort", leave);
    clearTimeout(late);
    unwatch();
  }
}

function ended(run: Run, when: string): PlatformError {
  return new PlatformError("run_ended", `Run "${run.id}" has ended${when}`, {
    fix: when === "" ? "see agentkube ps for live runs" : `see agentkube logs ${run.id}`,
  });
}
