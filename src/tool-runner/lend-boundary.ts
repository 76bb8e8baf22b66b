import { closeSync } from "node:fs";
import type { Sandbox } from "../kit/sandbox.ts";
import { BOUNDARY_PORT } from "./call-sandbox.ts";
import type { AdmittedCall, ToolRunner } from "./tool-runner.ts";

/** Opens the boundary for a call on the listener inside its network namespace; null when the tool has no network. */
export async function lendBoundary(
  runner: ToolRunner,
  { id, tool }: AdmittedCall,
  sandbox: Sandbox,
): Promise<AsyncDisposable | null> {
  const listener = sandbox.listeners.get(BOUNDARY_PORT);
  for (const [port, descriptor] of sandbox.listeners)
    if (port !== BOUNDARY_PORT) closeSync(descriptor);
  if (listener === undefined) return null;
  const credentials = tool.credentials.flatMap(({ name, http, secretRef }) =>
    http === undefined
      ? []
      : [
          {
            name,
            http,
            secret: () => runner.secrets.valueOf(secretRef),
            lend: async () => await runner.secrets.lend(secretRef),
          },
        ],
  );
  return runner.boundary.openCall(
    {
      call: id,
      tool: tool.name,
      network: [...tool.sandbox.network],
      credentials,
      redaction: () => runner.secrets.redaction,
    },
    listener,
  );
}
