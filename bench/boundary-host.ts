// The boundary in a process of its own, as in a tool-runner, with open calls that all have the same grant.
import { silentLog } from "../src/kit/log.ts";
import { createCallId } from "../src/protocol/ids.ts";
import { Boundary } from "../src/tool-runner/boundary/boundary.ts";
import { benchGrant } from "./boundary-grant.ts";
import { answer } from "./forked.ts";

export interface BoundaryQuestion {
  host: string;
  upstream: { port: number; caPem: string };
  token: string;
  calls: number;
}

export interface BoundaryAnswer {
  caPem: string;
  /** where each call's proxy listens */
  ports: number[];
}

answer(async ({ host, upstream, token, calls }: BoundaryQuestion): Promise<BoundaryAnswer> => {
  const boundary = new Boundary({
    run: "bench-run",
    log: silentLog,
    onRequest: () => undefined,
    hosts: [host],
    // More than a call may make: one call here serves all rounds of a measurement.
    limits: { requests: 1_000_000 },
  });
  const grant = benchGrant(host, upstream, token);
  const ports: number[] = [];
  for (let index = 0; index < calls; index++) {
    const call = await boundary.openCall({ ...grant, call: createCallId() }, { port: 0 });
    ports.push(call.port);
  }
  return { caPem: boundary.caPem, ports };
});
