import { createHash } from "node:crypto";
import type { PodRequest } from "./pod-request.ts";

/** Of the pod: that of the run, which is the Agent's unless `--run` says otherwise. */
export function podNameOf({ run }: PodRequest): string {
  return run;
}

/**
 * Of what a pod needs beside it. Each run has its own, so that no run changes another's fence, and the prefix keeps them apart from
 * what a namespace has of its own: an Agent may be called `default`, as the ServiceAccount is that pods get without asking.
 */
export function objectNameOf({ run }: PodRequest): string {
  return labelled("agentkube", run);
}

/** `KIND-NAME` as a name of 63 characters at most; a longer one becomes a digest, so that no two are the same. */
export function labelled(kind: string, name: string): string {
  const whole = `${kind}-${name}`;
  if (whole.length <= 63) return whole;
  return `${kind}-${createHash("sha256").update(name).digest("hex").slice(0, 32)}`;
}
