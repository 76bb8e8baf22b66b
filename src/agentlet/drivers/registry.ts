import { PlatformError } from "../../kit/platform-error.ts";
import type { RunSpec } from "../../protocol/run-spec.ts";
import { claudeCode } from "./claude-code.ts";
import { custom } from "./custom.ts";
import type { Driver } from "./driver.ts";

const DRIVERS: Partial<Record<RunSpec["agent"]["runtime"], Driver>> = {
  ClaudeCode: claudeCode,
  Custom: custom,
};

/** The driver of a runtime. Throws `PlatformError` `runtime_unsupported` that names what is supported. */
export function driverOf(runtime: RunSpec["agent"]["runtime"]): Driver {
  const driver = DRIVERS[runtime];
  if (driver !== undefined) return driver;
  throw new PlatformError(
    "runtime_unsupported",
    `Runtime "${runtime}" has no driver in this version`,
    {
      path: "spec.runtime",
      fix: `use one of ${Object.keys(DRIVERS).join(", ")}; Custom runs any CLI by its command`,
    },
  );
}
