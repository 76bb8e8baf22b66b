import type { RunSpec } from "../../protocol/run-spec.ts";
import { aider } from "./aider.ts";
import { claudeCode } from "./claude-code.ts";
import { cline } from "./cline.ts";
import { codex } from "./codex.ts";
import { cursor } from "./cursor.ts";
import { custom } from "./custom.ts";
import type { Driver } from "./driver.ts";
import { goose } from "./goose.ts";
import { openCode } from "./open-code.ts";

/** Every runtime has one entry here; a new one is its file and its line. */
const DRIVERS: Readonly<Record<RunSpec["agent"]["runtime"], Driver>> = {
  ClaudeCode: claudeCode,
  Codex: codex,
  OpenCode: openCode,
  Aider: aider,
  Cline: cline,
  Goose: goose,
  Cursor: cursor,
  Custom: custom,
};

/** The driver of a runtime. */
export function driverOf(runtime: RunSpec["agent"]["runtime"]): Driver {
  return DRIVERS[runtime];
}
