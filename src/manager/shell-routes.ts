import type { IncomingMessage, ServerResponse } from "node:http";
import { PlatformError } from "../kit/platform-error.ts";
import { OpenShell, type ShellList } from "../protocol/manager-api.ts";
import type { OperatorProof } from "./guard.ts";
import { handleReplay } from "./replay-routes.ts";
import type { Replays } from "./replays.ts";
import { readBody, replyJson } from "./reply.ts";
import { sendRecording } from "./send-recording.ts";
import type { Run } from "./run.ts";
import type { Shell } from "./shell.ts";

interface ShellCall {
  request: IncomingMessage;
  response: ServerResponse;
  proof: OperatorProof;
  /** what follows `/v1/runs/{run}/shells`: nothing, `/GRANT` or `/GRANT/recording.cast` */
  rest: string;
  replays: Replays;
}

/** Answers what is asked of a run's shells. False when there is no such route. Throws `PlatformError` for refusals. */
export async function handleShells(run: Run, call: ShellCall): Promise<boolean> {
  const { request, response, proof, rest } = call;
  const method = request.method === "HEAD" ? "GET" : (request.method ?? "");
  if (rest === "" && method === "GET") {
    const shells = [...run.shells].map((shell) => shell.info);
    replyJson(response, 200, { shells: shells.toReversed() } satisfies ShellList);
    return true;
  }
  if (rest === "" && method === "POST") {
    const { cols, rows, argv } = await readBody(request, "a request for a shell", OpenShell);
    const by = proof === "cookie" ? "the page" : "the operator";
    const shell = await run.shells.grant({ terminal: { cols, rows }, argv, by });
    replyJson(response, 201, shell.info);
    return true;
  }
  const [grant = "", file = "", ...more] = rest.slice(1).split("/");
  if (method === "GET" && file === "") replyJson(response, 200, shellOf(run, grant).info);
  else if (method === "GET" && file === "recording.cast")
    await sendRecording({ request, response }, shellOf(run, grant));
  else if (method === "DELETE" && file === "") {
    const shell = shellOf(run, grant);
    shell.relay.closeShell("closed by the operator");
    replyJson(response, 202, shell.info);
  } else if (method === "GET" && file.startsWith("replay")) {
    const path = ["", file, ...more].join("/");
    return await handleReplay(response, {
      session: shellOf(run, grant),
      replays: call.replays,
      path,
    });
  } else return false;
  return true;
}

/** The shell of a grant. Throws `unknown_shell`. */
export function shellOf(run: Run, grant: string): Shell {
  const shell = run.shells.get(grant);
  if (shell !== undefined) return shell;
  throw new PlatformError("unknown_shell", `Run "${run.id}" has no shell "${grant.slice(0, 32)}"`, {
    fix: `open one with agentkube shell ${run.id}`,
  });
}
