import { NO_FILES } from "./result-files.ts";

/** What a call gave that ended before its tool said anything. */
export const NO_OUTPUT = {
  stdout: "",
  stderr: "",
  truncated: false,
  masked: 0,
  reply: null,
  files: NO_FILES,
};
