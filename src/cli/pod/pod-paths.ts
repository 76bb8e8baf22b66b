import { SMALL_HEAP, SMALL_MALLOC } from "../node-options.ts";

/** Where things lie in the containers of a run; images, pod and entry points agree on these. */
export const POD_PATHS = {
  /** the injected folder: Node, our code, the native parts */
  install: "/opt/agentkube-bin",
  /** what every CLI finds in zone A: tools on PATH, helpers of hooks */
  zone: "/opt/agentkube",
  spec: "/etc/agentkube",
  token: "/var/run/agentkube/token",
  secrets: "/var/run/agentkube/secrets",
  frames: "/run/agentkube/frames",
  markers: "/run/agentkube/markers",
  runner: "/run/agentkube/runner",
  spool: "/var/lib/agentkube/spool",
  state: "/var/lib/agentkube/run",
  tools: "/var/lib/agentkube/tools",
  workspace: "/workspace",
  home: "/home/agent",
} as const;

/** Fixed users, one a container: none of them is root, none can signal or read another's processes. */
export const POD_USERS = { agent: 1000, recorder: 2100, runner: 2200, group: 3000 } as const;

/** PID 1 reaps; it and Node are absolute, because an image need not have a PATH. */
export const POD_COMMAND = [
  `${POD_PATHS.install}/bin/tini`,
  "--",
  `${POD_PATHS.install}/bin/node`,
  ...SMALL_HEAP,
  `${POD_PATHS.install}/bin/agentkube.js`,
] as const;

/** The same in an image that is not ours: what its environment means for its own programs is none of our programs' business. */
export const COMMAND_IN_ANY_IMAGE = [
  `${POD_PATHS.install}/build/set-aside`,
  ...Object.entries(SMALL_MALLOC).map(([name, value]) => `${name}=${value}`),
  ...POD_COMMAND,
];
