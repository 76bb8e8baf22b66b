import { PlatformError } from "../../kit/platform-error.ts";
import { defineCommand } from "../command.ts";

/** `agentkube pod`: named by the command line, refused until clusters are supported. */
export const command = defineCommand({
  name: "pod",
  summary: "print the Kubernetes objects of a run (not yet supported)",
  usage: ["pod AGENT [TOOL…]"],
  examples: [{ command: "agentkube pod agent.yaml", does: "is refused with exit code 3 today" }],
  options: {},
  positionals: { min: 0, max: 1024 },
  run: () => {
    throw new PlatformError("unsupported", "Verb pod is not yet supported", {
      fix: "use agentkube run on this machine",
    });
  },
});
