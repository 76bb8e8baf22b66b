import { openLog } from "../kit/log.ts";
import { native } from "../kit/native.ts";
import { errorFacts } from "../kit/platform-error.ts";
import { setSandboxSearchPath } from "../kit/bubblewrap-zone.ts";
import { toolSpawner } from "../kit/tool-sandbox.ts";
import { bootProgram, podTokenFile } from "../protocol/begin-program.ts";
import { say } from "../protocol/boot.ts";
import { sayLastWords, takeBackLastWords } from "../protocol/last-words.ts";
import { readRunSpec } from "../protocol/read-run-spec.ts";
import { RunnerBoot } from "../protocol/run-spec.ts";
import { readPodSecrets } from "./pod-secrets.ts";
import { readPoolOptions } from "./pool-settings.ts";
import { serveRun } from "./serve-run.ts";

/**
 * The tool-runner: `AGENTKUBE_RUN_SPEC` in the environment, `RunnerBoot` and commands on standard input, status on standard
 * output. It ends with its input, with `stop`, or on SIGTERM; exit code 1 means that it could not serve.
 */
export async function main(): Promise<number> {
  const log = openLog("tool-runner");
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  // A supervisor that is gone reads nothing; its loss comes by standard input.
  process.stdout.on("error", () => undefined);
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  const tokenFile = podTokenFile(process.env);
  let socket: string | null = null;
  try {
    native().hideProcess();
    setSandboxSearchPath(process.env["PATH"] ?? "/usr/bin:/bin");
    const pool = readPoolOptions(process.env);
    // Now, while this process is small: it is the only one that is ever forked from it.
    toolSpawner();
    const spec = readRunSpec(process.env);
    socket = spec.sockets.runner;
    if (tokenFile !== undefined) takeBackLastWords(socket);
    const boot = await bootProgram(
      {
        role: "runner",
        schema: RunnerBoot,
        handlers: {
          onCommand: (command) => {
            if (command.kind === "stop") stop.abort();
          },
          onParentGone: () => stop.abort(),
        },
        keyDir: spec.runtimeDir,
        ownParts: () =>
          readPodSecrets(spec, {
            dir: process.env["AGENTKUBE_SECRETS_DIR"] ?? "/var/run/agentkube/secrets",
            modelKeyFile: process.env["AGENTKUBE_MODEL_KEY_FILE"],
          }),
      },
      { spec, tokenFile, log },
    );
    const onReady = (): void => say(process.stdout, { kind: "ready" });
    await serveRun({ spec, boot, log: log.child({ run: spec.run }), pool, onReady }, stop.signal);
    return 0;
  } catch (error) {
    log.error({ err: error }, "tool-runner failed");
    const fault = errorFacts(error, "tool_runner_failed");
    if (tokenFile !== undefined) sayLastWords(fault, socket);
    say(process.stdout, { kind: "fault", ...fault });
    return 1;
  } finally {
    process.off("SIGTERM", onSignal);
    process.off("SIGINT", onSignal);
    process.stdin.destroy();
  }
}
