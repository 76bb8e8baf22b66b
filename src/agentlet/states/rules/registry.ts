import type { RunSpec } from "../../../protocol/run-spec.ts";
import type { RuleSet } from "../screen-rule.ts";
import { aiderRules } from "./aider.ts";
import { claudeCodeRules } from "./claude-code.ts";
import { clineRules } from "./cline.ts";
import { codexRules } from "./codex.ts";
import { cursorRules } from "./cursor.ts";
import { genericRules } from "./generic.ts";
import { gooseRules } from "./goose.ts";
import { openCodeRules } from "./open-code.ts";

/** What is known of each runtime's screens. */
export const RULES: Record<RunSpec["agent"]["runtime"], RuleSet> = {
  ClaudeCode: claudeCodeRules,
  Codex: codexRules,
  OpenCode: openCodeRules,
  Aider: aiderRules,
  Cline: clineRules,
  Goose: gooseRules,
  Cursor: cursorRules,
  Custom: genericRules,
};
