import { dirname } from "node:path";
import { native } from "../kit/native.ts";
import { openLog } from "../kit/log.ts";
import { errorFacts, PlatformError } from "../kit/platform-error.ts";
import { setSandboxSearchPath } from "../kit/bubblewrap-zone.ts";
import { bootProgram, podTokenFile } from "../protocol/begin-program.ts";
import { say } from "../protocol/boot.ts";
import { writeTerminationMessage } from "../protocol/last-words.ts";
import { endOfRefusal, exitCodeOfRun } from "../protocol/outcome.ts";
import { readRunSpec } from "../protocol/read-run-spec.ts";
import { AgentletBoot, type RunSpec } from "../protocol/run-spec.ts";
import { keyVariableOf } from "../protocol/runtimes.ts";
import { linesOfEnd } from "./end-lines.ts";
import { runAgent } from "./run-life.ts";
import { ZoneRedaction } from "./zone-redaction.ts";
import { imageEnvironment, keyOfEnvironment } from "./image-environment.ts";
import type { PodFacts } from "./pod-ready.ts";
import { StopWish } from "./stop.ts";

function podFacts(
  spec: RunSpec,
  tokenFile: string,
  found: Pick<PodFacts, "clockAheadMs" | "lacking">,
): PodFacts {
  const keyVariable = keyVariableOf(spec.agent.runtime);
  return {
    hidden: [dirname(tokenFile)],
    imageEnv: imageEnvironment(process.env, keyVariable),
    ...found,
  };
}

/** The agentlet of one run: started by the supervisor, it says `ready`, runs the Agent, says `ended`. Its exit code is 0 unless it could not start. */
export async function main(): Promise<number> {
  const log = openLog("agentlet");
  const stop = new StopWish();
  const cancel = (signal: NodeJS.Signals) =>
    stop.wish("cancelled", `The agentlet was told to end (${signal})`);
  try {
    native().hideProcess();
    const spec = readRunSpec(process.env);
    setSandboxSearchPath(process.env["PATH"] ?? "/usr/bin:/bin");
    process.on("SIGTERM", cancel).on("SIGINT", cancel);
    // The terminal that started all this may close; the run is not bound to it.
    process.on("SIGHUP", () => undefined);
    const redaction = Promise.withResolvers<ZoneRedaction>();
    const tokenFile = podTokenFile(process.env);
    let clockAheadMs: number | null = null;
    let lacking: PlatformError | null = null;
    const boot = await bootProgram(
      {
        role: "agentlet",
        schema: AgentletBoot,
        handlers: {
          onCommand: (command) => {
            if (command.kind === "redact")
              void redaction.promise.then((known) => known.add(command.values));
            if (command.kind === "stop")
              stop.wish(command.reason, `The supervisor ended the run (${command.reason})`);
          },
          onParentGone: () => stop.wish("agentlet_fault", "The supervisor is gone"),
        },
        keyDir: null,
        ownParts: () => {
          if (spec.agent.keyDelivery !== "env") return {};
          try {
            return { modelKey: keyOfEnvironment(process.env, keyVariableOf(spec.agent.runtime)) };
          } catch (error) {
            if (!(error instanceof PlatformError)) throw error;
            lacking = error;
            return {};
          }
        },
      },
      { spec, tokenFile, log, onClock: (aheadMs) => (clockAheadMs = aheadMs) },
    );
    const zone = new ZoneRedaction(boot.modelKey === undefined ? [] : [boot.modelKey]);
    redaction.resolve(zone);
    say(process.stdout, { kind: "ready" });
    const end = await runAgent({
      spec,
      boot,
      redaction: zone,
      nodePath: process.execPath,
      pod: tokenFile === undefined ? null : podFacts(spec, tokenFile, { clockAheadMs, lacking }),
      stop,
      log,
    });
    say(process.stdout, { kind: "ended", end });
    if (tokenFile === undefined) return 0;
    writeTerminationMessage(linesOfEnd(end));
    // Whether the recording is verified is the recorder's to say, after us.
    return exitCodeOfRun(end, { verified: true });
  } catch (error) {
    log.error({ err: error }, "agentlet could not run");
    if (podTokenFile(process.env) !== undefined)
      writeTerminationMessage(linesOfEnd(endOfRefusal(error)));
    say(process.stdout, { kind: "fault", ...errorFacts(error, "agentlet_fault") });
    return 1;
  } finally {
    process.off("SIGTERM", cancel).off("SIGINT", cancel);
    // An open standard input would keep this process alive.
    process.stdin.destroy();
  }
}
