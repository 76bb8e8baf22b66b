import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync } from "node:fs";
import { openSandbox } from "../src/kit/sandbox.ts";
import { toolPlan } from "./plans.ts";

const never = new AbortController().signal;

/** /bin/true in a tool's sandbox, from the call to the end of its last process. */
export async function sandboxedTrue({ listens }: { listens: boolean }): Promise<void> {
  const plan = toolPlan(["/bin/true"]);
  await using sandbox = await openSandbox(
    listens ? plan : { ...plan, initArgs: [] },
    { stdin: "ignore", stdout: "pipe", stderr: "pipe" },
    never,
  );
  const exit = await sandbox.toolExit;
  for (const descriptor of sandbox.listeners.values()) closeSync(descriptor);
  if (exit.kind !== "exited" || exit.code !== 0)
    throw new Error(`/bin/true ended as ${JSON.stringify(exit)}`);
}

/** A program by Node's own spawn, to the end of its output. Throws unless it succeeds. */
export async function spawned(program: string, args: string[]): Promise<void> {
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: "/usr/bin:/bin" },
  });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`${program} ended with ${code}`);
}
