import { native } from "../kit/native.ts";
import { openLog } from "../kit/log.ts";
import { PlatformError, messageOf } from "../kit/platform-error.ts";
import { setSandboxSearchPath } from "../kit/sandbox.ts";
import { readBoot, say } from "../protocol/boot.ts";
import { readRunSpec } from "../protocol/read-run-spec.ts";
import { AgentletBoot } from "../protocol/run-spec.ts";
import { runAgent } from "./run-life.ts";
import { ZoneRedaction } from "./zone-redaction.ts";
import { StopWish } from "./stop.ts";

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
    const boot = await readBoot(
      AgentletBoot,
      {
        onCommand: (command) => {
          if (command.kind === "redact")
            void redaction.promise.then((known) => known.add(command.values));
          if (command.kind === "stop")
            stop.wish(command.reason, `The supervisor ended the run (${command.reason})`);
        },
        onParentGone: () => stop.wish("agentlet_fault", "The supervisor is gone"),
      },
      process.stdin,
    );
    const zone = new ZoneRedaction(boot.modelKey === undefined ? [] : [boot.modelKey]);
    redaction.resolve(zone);
    say(process.stdout, { kind: "ready" });
    const end = await runAgent({
      spec,
      boot,
      redaction: zone,
      nodePath: process.execPath,
      stop,
      log,
    });
    say(process.stdout, { kind: "ended", end });
    return 0;
  } catch (error) {
    log.error({ err: error }, "agentlet could not run");
    const code = error instanceof PlatformError ? error.code : "agentlet_fault";
    const fix = error instanceof PlatformError && error.fix !== undefined ? `; ${error.fix}` : "";
    say(process.stdout, { kind: "fault", code, message: `${messageOf(error)}${fix}` });
    return 1;
  } finally {
    process.off("SIGTERM", cancel).off("SIGINT", cancel);
    // An open standard input would keep this process alive.
    process.stdin.destroy();
  }
}
