import type { SandboxLayout } from "./sandbox-layout.ts";

/** A path of the host that a sandbox sees. */
export interface SandboxBind {
  source: string;
  target: string;
  mode: "ro" | "rw";
  /** the source is a real path that others may replace meanwhile: the sandbox is refused when anything else was mounted */
  exact?: true;
}

/**
 * What the sandbox's programs find at `/`, read-only. `system`: the host's /usr with its /bin and /lib links, and a minimal
 * /etc. `tree`: a directory with a root file system of its own, which needs no place for what we put over it.
 */
export type SandboxRoot = { kind: "system" } | { kind: "tree"; path: string };

/** A file made inside, owned by the sandbox's user. */
export interface SandboxFile {
  path: string;
  data: Buffer;
  mode: number;
  /** the same bytes in many sandboxes, and no secret: it may be kept for the next one */
  shared?: true;
}

/** What a sandbox is made of: an allow list, and nothing else of the host. */
export interface SandboxPlan {
  /** pid 1 inside */
  init: "zone-init" | "tool-init";
  /** such as `["--listen", "4180"]` */
  initArgs: string[];
  /** tool-init: the one program it starts; empty for zone-init */
  argv: string[];
  hostname: string;
  /** `own`: a network namespace with nothing but its loopback */
  network: "own" | "host";
  nestedUserNamespaces: boolean;
  readOnlyProc: boolean;
  root: SandboxRoot;
  /** applied in order, over the tmpfs mounts */
  binds: SandboxBind[];
  files: SandboxFile[];
  tmpfs: { path: string; bytes: number }[];
  cwd: string;
  /** tool-init: `cwd` as the sandbox has it is opened before the tool starts, and can be read when the sandbox is gone */
  keepsDirectory?: boolean;
  /** the whole environment of the program that tool-init starts; zone-init programs bring their own */
  env: Record<string, string>;
  /** RLIMIT_NPROC, counted in the sandbox's own user namespace */
  processes: number;
  /** tool-init only */
  limits?: { fileBytes?: number; cpuSeconds?: number; openFiles?: number; dataBytes?: number };
  /** tool-init only: what the kernel holds all its processes together to, by a control group; refused where there is none */
  enforced?: { memoryBytes: number; processes: number };
  seccomp: "zone" | "tool";
}

/** Who the sandbox's processes are inside. */
export interface InsideIdentity {
  uid: number;
  gid: number;
}

/** Ours, or for root a user of its own inside: no sandboxed program is uid 0. */
export function insideIdentity(): InsideIdentity {
  const [uid, gid] = [process.getuid?.() ?? -1, process.getgid?.() ?? -1];
  return uid === 0 ? { uid: 1000, gid: 1000 } : { uid, gid };
}

/** The parts of a `host-uid`/bwrap line that depend on the plan alone. */
export interface SandboxLine {
  arguments: string[];
  /** bytes for each descriptor from `firstDescriptor` on, in order */
  inputs: Buffer[];
}

/** Where pid 1 lies inside. */
export const INIT_DIR = "/opt/agentkube";
const DEV_SHM_BYTES = 64 * 1024 * 1024;

/**
 * bubblewrap's arguments for a plan. `placeOf` says where a source is found when bubblewrap runs (host-uid stages clones).
 * Every tmpfs has a size, and what bubblewrap itself makes (`/`, `/dev`) is read-only in the end.
 */
export function sandboxLine(
  plan: SandboxPlan,
  layout: SandboxLayout,
  identity: InsideIdentity,
  initProgram: string,
  placeOf: (source: string) => string,
  seccompDescriptor: number,
): SandboxLine {
  const inputs: Buffer[] = [];
  const args = [
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
  ];
  if (plan.network === "own") args.push("--unshare-net");
  if (!plan.nestedUserNamespaces) args.push("--disable-userns");
  args.push("--die-with-parent", "--as-pid-1", "--new-session", "--cap-drop", "ALL");
  args.push(
    "--uid",
    String(identity.uid),
    "--gid",
    String(identity.gid),
    "--hostname",
    plan.hostname,
  );
  for (const { source, target } of layout.hostBinds) args.push("--ro-bind", source, target);
  for (const { path, target } of layout.links) args.push("--symlink", target, path);
  for (const { source, target } of layout.treeBinds)
    args.push("--ro-bind", placeOf(source), target);
  args.push("--proc", "/proc");
  if (plan.readOnlyProc) args.push("--remount-ro", "/proc");
  args.push(
    "--dev",
    "/dev",
    "--size",
    String(DEV_SHM_BYTES),
    "--perms",
    "1777",
    "--tmpfs",
    "/dev/shm",
    "--remount-ro",
    "/dev",
  );
  for (const { path, bytes } of plan.tmpfs) {
    args.push(
      "--size",
      String(bytes),
      "--perms",
      path === "/tmp" ? "1777" : "0755",
      "--tmpfs",
      path,
    );
  }
  for (const bind of plan.binds)
    args.push(bind.mode === "rw" ? "--bind" : "--ro-bind", placeOf(bind.source), bind.target);
  args.push("--ro-bind", placeOf(initProgram), `${INIT_DIR}/${plan.init}`);
  for (const { path, data, mode } of layout.files) {
    args.push(
      "--perms",
      mode.toString(8).padStart(4, "0"),
      "--file",
      String(seccompDescriptor + 1 + inputs.length),
      path,
    );
    inputs.push(data);
  }
  args.push("--remount-ro", "/", "--chdir", "/", "--seccomp", String(seccompDescriptor));
  args.push(
    "--",
    `${INIT_DIR}/${plan.init}`,
    ...plan.initArgs,
    "--processes",
    String(plan.processes),
  );
  return { arguments: args, inputs };
}
