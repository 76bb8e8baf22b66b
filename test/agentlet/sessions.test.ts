import assert from "node:assert/strict";
import { test } from "node:test";
import { liveThrough } from "./sessions.ts";

test("sessions leave no descriptor, process or mount behind, however their program ends", async () => {
  const { descriptors, children, processes, mounts } = await liveThrough(12);

  assert.deepEqual(
    { descriptors, children, processes, mounts },
    { descriptors: 0, children: [], processes: [], mounts: [] },
  );
});
