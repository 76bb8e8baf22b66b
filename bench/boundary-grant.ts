import { compileRedaction } from "../src/kit/redactor.ts";
import type { CallGrant } from "../src/tool-runner/boundary/boundary.ts";

/** What a call of the benchmarks may reach and what is put in, with one table for its answers as a tool-runner has one for its run. */
export function benchGrant(
  host: string,
  upstream: { port: number; caPem: string },
  token: string,
): Omit<CallGrant, "call"> {
  const rule = {
    host,
    port: upstream.port,
    private: true,
    address: "127.0.0.1",
    ca: { inline: upstream.caPem },
  };
  const secret = Buffer.from(token);
  const table = compileRedaction([secret], { extraForms: [] });
  const credential = {
    name: "api",
    http: {
      hosts: [`${host}:${upstream.port}`],
      methods: ["GET" as const],
      paths: ["/v1/"],
      header: "Authorization",
      format: "Bearer {{secret}}",
    },
    secret: () => secret,
  };
  return { tool: "bench", network: [rule], credentials: [credential], redaction: () => table };
}
