import type { SandboxPlan } from "./sandbox-arguments.ts";
import type { Sandbox, SandboxStdio } from "./sandbox.ts";
import { profileOf, spawnBinds, ToolSandbox } from "./tool-sandbox.ts";

/** Starts a tool's sandbox. */
export async function openToolSandbox(
  plan: SandboxPlan,
  stdio: SandboxStdio,
  signal: AbortSignal,
): Promise<Sandbox> {
  const profile = profileOf(plan);
  const sandbox = new ToolSandbox(profile, spawnBinds(plan), []);
  try {
    await sandbox.run(plan, stdio, null, signal);
    return sandbox;
  } catch (error) {
    await sandbox[Symbol.asyncDispose]();
    throw error;
  }
}
