import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const OURS = fileURLToPath(new URL("../../images/seccomp-tool-runner.json", import.meta.url));
const PODMANS = "/usr/share/containers/seccomp.json";
/** What containerd's and docker's default profiles allow with CAP_SYS_ADMIN only, and podman's always. */
const PRIVILEGED = [
  ..."clone3 fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree".split(" "),
  ..."pivot_root setns umount umount2 unshare keyctl".split(" "),
];
/** Every CLONE_NEW* flag. */
const NAMESPACES = 0x7e020000;

interface Profile {
  syscalls: { names: string[]; action: string; args?: object[]; errnoRet?: number }[];
}

/**
 * What kubelet's seccomp directory has on a node: our profile, and one that means RuntimeDefault. The latter is made from podman's own,
 * which is weaker: it allows what makes namespaces.
 */
export function writeProfiles(dir: string): void {
  mkdirSync(dir);
  copyFileSync(OURS, join(dir, "agentkube-tool-runner.json"));
  const profile = JSON.parse(readFileSync(PODMANS, "utf8")) as Profile;
  for (const rule of profile.syscalls)
    rule.names = rule.names.filter((name) => name !== "clone" && !PRIVILEGED.includes(name));
  profile.syscalls = profile.syscalls.filter(({ names }) => names.length > 0);
  profile.syscalls.push(
    {
      names: ["clone"],
      action: "SCMP_ACT_ALLOW",
      args: [{ index: 0, value: NAMESPACES, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }],
    },
    // A C library then falls back to clone.
    { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: 38 },
  );
  writeFileSync(join(dir, "runtime-default.json"), JSON.stringify(profile));
}
