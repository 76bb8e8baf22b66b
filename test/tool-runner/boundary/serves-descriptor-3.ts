import { silentLog } from "../../../src/kit/log.ts";
import { createCallId } from "../../../src/protocol/ids.ts";
import { Boundary } from "../../../src/tool-runner/boundary/boundary.ts";

// Opens a call on the listening socket it inherited, until its input ends.
const boundary = new Boundary({ run: "test-run", log: silentLog, onRequest: () => {} });
const call = await boundary.openCall(
  { call: createCallId(), tool: "probe", network: [], credentials: [] },
  3,
);
process.stdout.write("ready\n");
for await (const _ of process.stdin);
await call[Symbol.asyncDispose]();
