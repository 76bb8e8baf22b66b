import { existsSync, readdirSync, realpathSync } from "node:fs";
import {
  INIT_DIR,
  type InsideIdentity,
  type SandboxBind,
  type SandboxPlan,
} from "./sandbox-arguments.ts";
import { treeLayout, treeText } from "./tree-root.ts";

/** What lies at a sandbox's `/` before the plan's own mounts, and every file that is made in it. */
export interface SandboxLayout {
  /** parts of the host that everyone may read, at their own paths, read-only */
  hostBinds: SandboxBind[];
  /** the entries of a root file system, read-only */
  treeBinds: SandboxBind[];
  links: { path: string; target: string }[];
  /** ours and the plan's */
  files: SandboxPlan["files"];
}

/** Read-only parts of the host's /etc that programs need to run; none of them holds a secret. */
const SYSTEM_ETC = [
  "/etc/alternatives",
  "/etc/ca-certificates",
  "/etc/ld.so.cache",
  "/etc/localtime",
  "/etc/pki/tls/certs",
  "/etc/ssl/certs",
  "/etc/ssl/openssl.cnf",
  // Debian's Java reads its configuration there and does not start without.
  ...readdirSync("/etc")
    .filter((name) => /^java-[0-9]+-openjdk$/.test(name))
    .map((name) => `/etc/${name}`),
];

/** Throws `PlatformError` `root_invalid` when the plan's tree cannot be a root. */
export function layOut(plan: SandboxPlan, identity: InsideIdentity): SandboxLayout {
  return plan.root.kind === "tree"
    ? treeRoot(plan, plan.root.path, identity)
    : systemRoot(plan, identity);
}

function systemRoot(plan: SandboxPlan, identity: InsideIdentity): SandboxLayout {
  const layout: SandboxLayout = {
    hostBinds: [hostBind("/usr")],
    treeBinds: [],
    links: [],
    files: [...etcFiles(plan, identity, ""), ...plan.files],
  };
  for (const name of ["bin", "sbin", "lib", "lib32", "lib64", "libx32"]) {
    if (!existsSync(`/${name}`)) continue;
    const real = realpathSync(`/${name}`);
    // Merged /usr is a link; an old layout has directories of its own.
    if (real.startsWith("/usr/")) layout.links.push({ path: `/${name}`, target: real.slice(1) });
    else layout.hostBinds.push(hostBind(`/${name}`));
  }
  for (const path of SYSTEM_ETC) {
    const replaced = plan.files.some(
      (file) => file.path === path || file.path.startsWith(`${path}/`),
    );
    if (!replaced && existsSync(path)) layout.hostBinds.push(hostBind(path));
  }
  return layout;
}

function treeRoot(plan: SandboxPlan, tree: string, identity: InsideIdentity): SandboxLayout {
  const files = [...etcFiles(plan, identity, tree), ...plan.files];
  const ours = [
    "/proc",
    "/dev",
    `${INIT_DIR}/${plan.init}`,
    ...plan.tmpfs.map(({ path }) => path),
    ...plan.binds.map(({ target }) => target),
    ...files.map(({ path }) => path),
  ];
  const { binds, links } = treeLayout(tree, ours);
  return { hostBinds: [], treeBinds: binds, links, files };
}

function hostBind(path: string): SandboxBind {
  return { source: path, target: path, mode: "ro" };
}

/** Who the sandbox's user is, and no name server. A tree keeps its own users and groups beside ours. */
function etcFiles(
  plan: SandboxPlan,
  { uid, gid }: InsideIdentity,
  tree: string,
): SandboxPlan["files"] {
  const home = plan.env["HOME"] ?? (plan.init === "zone-init" ? "/home/agent" : "/tmp");
  const users = `agent:x:${uid}:${gid}::${home}:/bin/sh\n`;
  const groups = `agent:x:${gid}:\n`;
  const text: Record<string, string> = {
    "/etc/hosts": `127.0.0.1 localhost ${plan.hostname}\n::1 localhost\n`,
    "/etc/hostname": `${plan.hostname}\n`,
    "/etc/resolv.conf": "",
  };
  if (tree === "") {
    text["/etc/passwd"] =
      `root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n${users}nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n`;
    text["/etc/group"] = `root:x:0:\n${groups}nogroup:x:65534:\n`;
    text["/etc/nsswitch.conf"] = "passwd: files\ngroup: files\nhosts: files dns\n";
  } else {
    // The first line of an id is the one that is found.
    text["/etc/passwd"] = users + treeText(tree, "/etc/passwd");
    text["/etc/group"] = groups + treeText(tree, "/etc/group");
  }
  return Object.entries(text).map(([path, content]) => ({
    path,
    data: Buffer.from(content),
    mode: 0o644,
  }));
}
