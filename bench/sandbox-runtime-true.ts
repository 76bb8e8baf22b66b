import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { peerDir } from "./peer-dir.ts";

/** What of sandbox-runtime is used. */
interface SandboxRuntime {
  SandboxManager: {
    wrapWithSandbox(command: string, shell: undefined, config: object): Promise<string>;
  };
}

/**
 * Runs /bin/true as sandbox-runtime has its users run a command: wrapped anew for each, then given to a shell. Without network, so
 * that neither its proxies nor socat are part of it. Throws with the reason when it cannot be had.
 */
export async function sandboxRuntimeTrue(): Promise<() => Promise<void>> {
  const entry = path.join(peerDir("sandbox-runtime"), "dist/index.js");
  const { SandboxManager } = (await import(pathToFileURL(entry).href)) as SandboxRuntime;
  const config = {
    network: { allowedDomains: [], deniedDomains: [] },
    filesystem: { denyRead: [], allowWrite: [], denyWrite: [] },
  };
  return async () => {
    const line = await SandboxManager.wrapWithSandbox("/bin/true", undefined, config);
    const child = spawn(line, { shell: true, stdio: ["ignore", "pipe", "pipe"] });
    const [code] = (await once(child, "close")) as [number | null];
    if (code !== 0) throw new Error(`sandbox-runtime ended with ${code}`);
  };
}
