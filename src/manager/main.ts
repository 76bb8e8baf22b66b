import { readFileSync } from "node:fs";
import { openLog } from "../kit/log.ts";
import { native } from "../kit/native.ts";
import { messageOf, PlatformError } from "../kit/platform-error.ts";
import { say } from "../protocol/boot.ts";
import { ExitCode } from "../protocol/outcome.ts";
import { readConfig } from "./config.ts";
import { openManager } from "./manager.ts";

/** Runs the manager until it is idle (with `--ephemeral`) or told to end. Returns the exit code. */
export async function main(argv: string[]): Promise<number> {
  const log = openLog("manager");
  const stop = Promise.withResolvers<void>();
  const onSignal = (): void => stop.resolve();
  // A first signal ends it in order; whoever started it may have closed the other end of standard output since.
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, onSignal);
  const onHangup = (): void => undefined;
  process.on("SIGHUP", onHangup);
  process.stdout.on("error", () => undefined);
  try {
    const config = readConfig(argv, process.env);
    const addon = native();
    // The operator token is in this process's memory.
    addon.hideProcess();
    await using manager = await openManager({
      ...config,
      version: version(),
      lockFile: (fd) => addon.lockFile(fd),
      log,
    });
    if (process.stdout.isTTY) process.stdout.write(`${manager.url}/#token=${manager.token}\n`);
    else say(process.stdout, { kind: "ready" });
    await Promise.race([stop.promise, manager.finished]);
    log.info("manager ends");
  } catch (error) {
    return fail(error);
  } finally {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.off(signal, onSignal);
    process.off("SIGHUP", onHangup);
  }
  return ExitCode.done;
}

function fail(error: unknown): number {
  const code = error instanceof PlatformError ? error.code : "internal";
  const fix = error instanceof PlatformError ? error.fix : undefined;
  process.stderr.write(`${messageOf(error)}${fix === undefined ? "" : `\n  ${fix}`}\n`);
  if (!process.stdout.isTTY)
    say(process.stdout, { kind: "fault", code, message: messageOf(error) });
  if (code === "usage") return ExitCode.usage;
  return code === "manager_locked" || code === "native_missing"
    ? ExitCode.refused
    : ExitCode.failed;
}

function version(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  const { version } = JSON.parse(text) as { version?: unknown };
  return typeof version === "string" ? version : "unknown";
}
