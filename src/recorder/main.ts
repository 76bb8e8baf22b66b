import { dirname } from "node:path";
import { openLog } from "../kit/log.ts";
import { native } from "../kit/native.ts";
import { errorFacts } from "../kit/platform-error.ts";
import { bootProgram, podTokenFile } from "../protocol/begin-program.ts";
import { say } from "../protocol/boot.ts";
import { sayLastWords, takeBackLastWords } from "../protocol/last-words.ts";
import { readRunSpec } from "../protocol/read-run-spec.ts";
import { RecorderBoot } from "../protocol/run-spec.ts";
import { isSealed, noteSealed, untilAborted } from "./pod-life.ts";
import { record, SHIP_IN_POD_MS } from "./record.ts";
import { readZoneSecrets } from "./zone-secrets.ts";

/**
 * The session-recorder: `AGENTKUBE_RUN_SPEC` in the environment, `RecorderBoot` and commands on standard input, status on
 * standard output. Exit code 0: the manager has verified the recording; 1: it has not, or the recorder could not work.
 */
export async function main(): Promise<number> {
  const log = openLog("session-recorder");
  const producerLost = new AbortController();
  const supervisorGone = new AbortController();
  // A command cannot come before the boot document, but it may come before the recording is open.
  const early: Buffer[] = [];
  let takeSecrets = (values: readonly Buffer[]): void => void early.push(...values);
  // A supervisor that is gone reads nothing; its loss comes by standard input.
  process.stdout.on("error", () => undefined);
  const onSignal = (signal: NodeJS.Signals): void => supervisorGone.abort(`recorder got ${signal}`);
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  const tokenFile = podTokenFile(process.env);
  let socket: string | null = null;
  try {
    native().hideProcess();
    const spec = readRunSpec(process.env);
    socket = spec.sockets.recorder;
    if (tokenFile !== undefined) takeBackLastWords(socket);
    if (tokenFile !== undefined && isSealed(dirname(spec.spoolDir))) {
      await untilAborted(supervisorGone.signal);
      return 0;
    }
    const boot = await bootProgram(
      {
        role: "recorder",
        schema: RecorderBoot,
        handlers: {
          onCommand: (command) => {
            // `stop` is for the agentlet; what it makes of it arrives as frames.
            if (command.kind === "producer_lost") producerLost.abort(command.cause);
            if (command.kind === "redact")
              takeSecrets(command.values.map((value) => Buffer.from(value, "base64")));
          },
          onParentGone: () => supervisorGone.abort("supervisor lost"),
        },
        keyDir: dirname(spec.spoolDir),
        ownParts: () => ({ zoneSecrets: readZoneSecrets(process.env) }),
      },
      { spec, tokenFile, log },
    );
    const recording = await record({
      spec,
      boot,
      log: log.child({ run: spec.run }),
      say: (status) => say(process.stdout, status),
      onSecrets: (take) => {
        takeSecrets = take;
        if (early.length > 0) take(early.splice(0));
      },
      producerLost: producerLost.signal,
      supervisorGone: supervisorGone.signal,
      ...(tokenFile === undefined ? {} : { shipAloneMs: SHIP_IN_POD_MS }),
    });
    if (tokenFile !== undefined && recording.verified) {
      noteSealed(dirname(spec.spoolDir), recording);
      await untilAborted(supervisorGone.signal);
    }
    return recording.verified ? 0 : 1;
  } catch (error) {
    log.error({ err: error }, "recorder failed");
    const fault = errorFacts(error, "recorder_failed");
    if (tokenFile !== undefined) sayLastWords(fault, socket);
    say(process.stdout, { kind: "fault", ...fault });
    return 1;
  } finally {
    process.off("SIGTERM", onSignal);
    process.off("SIGINT", onSignal);
    process.stdin.destroy();
  }
}
