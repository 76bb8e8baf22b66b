import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { fixOfRefusal, refusalIn } from "../../src/kit/refusal-fix.ts";

const FREE = { isFiltered: false, appArmor: null };
const FILTERED = { isFiltered: true, appArmor: null };

suite("what to change when a sandbox is refused", () => {
  for (const [answer, refusal, confinement, names] of [
    [
      "a seccomp profile says ENOSYS",
      { step: "user namespace", errno: "ENOSYS" },
      FREE,
      /seccompProfile.*Localhost.*agentkube\/tool-runner\.json/,
    ],
    [
      "a seccomp profile says EPERM",
      { step: "user namespace", errno: "EPERM" },
      FILTERED,
      /seccompProfile/,
    ],
    [
      "the kernel says EPERM",
      { step: "user namespace", errno: "EPERM" },
      FREE,
      /sysctl user\.max_user_namespaces/,
    ],
    [
      "no namespaces are left",
      { step: "user namespace", errno: "ENOSPC" },
      FILTERED,
      /^this user has no namespaces left/,
    ],
    [
      "/proc is masked",
      { step: "fsmount", errno: "EPERM", path: "/proc" },
      FILTERED,
      /procMount.*Unmasked, and hostUsers: false/,
    ],
    [
      "AppArmor denies mounts",
      { step: "mount", errno: "EACCES", path: "/proc" },
      { isFiltered: true, appArmor: "cri-containerd.apparmor.d" },
      /AppArmor's profile "cri-containerd\.apparmor\.d".*appArmorProfile/,
    ],
    ["root has no capability", { step: "setgroups", errno: "EPERM" }, FREE, /runAsNonRoot: true/],
  ] as const)
    test(`${answer}: the setting is named`, () => {
      assert.match(fixOfRefusal(refusal, confinement) ?? "", names);
    });

  test("what is no refusal has no such answer", () => {
    assert.equal(fixOfRefusal({ step: "mount", errno: "ENOENT", path: "/proc" }, FILTERED), null);
  });

  test("a launcher's words are understood", () => {
    const said = "bwrap: No permissions to create new namespace, likely because …";
    const refusal = refusalIn(said);
    assert(refusal !== null);
    assert.match(fixOfRefusal(refusal, FILTERED) ?? "", /seccompProfile/);
    assert.match(fixOfRefusal(refusal, FREE) ?? "", /sysctl/);
    assert.equal(refusalIn("bwrap: Can't find source path /x: No such file or directory"), null);
  });
});
