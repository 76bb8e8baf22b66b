import type { SandboxPlan } from "../src/kit/sandbox.ts";

/** The sandbox of a tool call with everything on, for one program. */
export function toolPlan(argv: string[]): SandboxPlan {
  return {
    init: "tool-init",
    initArgs: ["--listen", "3128"],
    argv,
    hostname: "bench",
    network: "own",
    nestedUserNamespaces: false,
    readOnlyProc: true,
    root: { kind: "system" },
    binds: [],
    files: [],
    tmpfs: [{ path: "/tmp", bytes: 16 * 1024 * 1024 }],
    cwd: "/tmp",
    env: { PATH: "/usr/bin:/bin", HOME: "/tmp", LANG: "C.UTF-8" },
    processes: 64,
    seccomp: "tool",
  };
}

/** Zone A for a program on a PTY. */
export function zonePlan(): SandboxPlan {
  return {
    ...toolPlan([]),
    init: "zone-init",
    initArgs: [],
    nestedUserNamespaces: true,
    readOnlyProc: false,
    processes: 256,
    seccomp: "zone",
  };
}
