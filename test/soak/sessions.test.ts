import assert from "node:assert/strict";
import { test } from "node:test";
import { liveThrough } from "../agentlet/sessions.ts";

const SESSIONS = 1000;

test(`${SESSIONS} sessions leave no descriptor, process or mount behind, and take no more memory than the first`, async () => {
  const left = await liveThrough(SESSIONS);

  const { heapMiB, ...rest } = left;
  assert.deepEqual(rest, { descriptors: 0, children: [], processes: [], mounts: [] });
  assert.ok(heapMiB < 16, `${heapMiB} MiB more on the heap`);
});
