import { existsSync, realpathSync } from "node:fs";
import type { SeccompProfile } from "./seccomp.ts";

/** A path of the host that a sandbox sees. */
export interface SandboxBind {
  source: string;
  target: string;
  mode: "ro" | "rw";
  /** the source is a real path that others may replace meanwhile: the sandbox is refused when anything else was mounted */
  exact?: true;
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
  /** the host's /usr with its /bin and /lib links, read-only, and a minimal /etc */
  systemTree: boolean;
  /** applied in order, over the tmpfs mounts */
  binds: SandboxBind[];
  /** files made inside, owned by the sandbox's user */
  files: { path: string; data: Buffer; mode: number }[];
  tmpfs: { path: string; bytes: number }[];
  cwd: string;
  /** the whole environment of the program that tool-init starts; zone-init programs bring their own */
  env: Record<string, string>;
  /** RLIMIT_NPROC, counted in the sandbox's own user namespace */
  processes: number;
  /** tool-init only */
  limits?: { fileBytes?: number; cpuSeconds?: number; openFiles?: number };
  seccomp: SeccompProfile;
}

/** Who the sandbox's processes are inside. */
export interface InsideIdentity {
  uid: number;
  gid: number;
}

/** The parts of a `host-uid`/bwrap line that depend on the plan alone. */
export interface SandboxLine {
  arguments: string[];
  /** bytes for each descriptor from `firstDescriptor` on, in order */
  inputs: Buffer[];
}

/** Where pid 1 lies inside. */
const INIT_DIR = "/opt/agentkube";
const DEV_SHM_BYTES = 64 * 1024 * 1024;

/** Read-only parts of the host's /etc that programs need to run; none of them holds a secret. */
const SYSTEM_ETC = [
  "/etc/alternatives",
  "/etc/ca-certificates",
  "/etc/ld.so.cache",
  "/etc/localtime",
  "/etc/pki/tls/certs",
  "/etc/ssl/certs",
  "/etc/ssl/openssl.cnf",
];

/**
 * bubblewrap's arguments for a plan. `placeOf` says where a source is found when bubblewrap runs (host-uid stages clones).
 * Every tmpfs has a size, and what bubblewrap itself makes (`/`, `/dev`) is read-only in the end.
 */
export function sandboxLine(
  plan: SandboxPlan,
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
  if (plan.systemTree) args.push(...systemTree(plan));
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
  const files = [...(plan.systemTree ? etcFiles(plan, identity) : []), ...plan.files];
  for (const { path, data, mode } of files) {
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
  const { fileBytes, cpuSeconds, openFiles } = plan.limits ?? {};
  if (fileBytes !== undefined) args.push("--file-bytes", String(fileBytes));
  if (cpuSeconds !== undefined) args.push("--cpu-seconds", String(cpuSeconds));
  if (openFiles !== undefined) args.push("--open-files", String(openFiles));
  return { arguments: args, inputs };
}

function systemTree(plan: SandboxPlan): string[] {
  const args = ["--ro-bind", "/usr", "/usr"];
  for (const name of ["bin", "sbin", "lib", "lib32", "lib64", "libx32"]) {
    if (!existsSync(`/${name}`)) continue;
    const real = realpathSync(`/${name}`);
    // Merged /usr is a link; an old layout has directories of its own.
    if (real.startsWith("/usr/")) args.push("--symlink", real.slice(1), `/${name}`);
    else args.push("--ro-bind", `/${name}`, `/${name}`);
  }
  for (const path of SYSTEM_ETC) {
    const replaced = plan.files.some(
      (file) => file.path === path || file.path.startsWith(`${path}/`),
    );
    if (!replaced) args.push("--ro-bind-try", path, path);
  }
  return args;
}

function etcFiles(plan: SandboxPlan, { uid, gid }: InsideIdentity): SandboxPlan["files"] {
  const home = plan.env["HOME"] ?? (plan.init === "zone-init" ? "/home/agent" : "/tmp");
  const text: Record<string, string> = {
    "/etc/passwd": `root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nagent:x:${uid}:${gid}::${home}:/bin/sh\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n`,
    "/etc/group": `root:x:0:\nagent:x:${gid}:\nnogroup:x:65534:\n`,
    "/etc/hosts": `127.0.0.1 localhost ${plan.hostname}\n::1 localhost\n`,
    "/etc/hostname": `${plan.hostname}\n`,
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "/etc/resolv.conf": "",
  };
  return Object.entries(text).map(([path, content]) => ({
    path,
    data: Buffer.from(content),
    mode: 0o644,
  }));
}
