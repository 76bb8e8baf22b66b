/** How long a tool-runner that is told to end waits for its calls, and then for the manager to have its audit. */
export const RUNNER_END = { callsMs: 3000, flushMs: 3000 } as const;

/**
 * What a pod is given to end, in seconds. Kubernetes ends its containers one after the other, and counts all of it: from a stop to the end of
 * the CLI, the tool-runner, from there to a verified recording, and some for kubelet.
 */
export const POD_GRACE = {
  agentlet: 15,
  runner: Math.ceil((RUNNER_END.callsMs + RUNNER_END.flushMs) / 1000) + 1,
  recorder: 25,
  kubelet: 5,
} as const;
