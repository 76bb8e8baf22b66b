import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { DoctorResult } from "../../src/protocol/results.ts";
import type { Range } from "./played-pod.ts";

/** A pod's settings as Kubernetes names them, and as podman is told them. */
interface Row {
  settings: string;
  words: string[];
  /** null: tools run; else what the kernel answers, and the setting that doctor names */
  refusal: { says: RegExp; fix: RegExp } | null;
}

const NO_NAMESPACES = {
  says: /(?:clone3?|unshare|namespace)[^]*(?:EPERM|ENOSYS|not permitted)/i,
  fix: /seccompProfile.*agentkube\/tool-runner\.json/,
};
const NO_PROC = { says: /mount[^]*EPERM[^]*"\/proc"/i, fix: /procMount.*Unmasked/ };

/** Where the profiles are is known when the test runs. */
function rows(profiles: string): Row[] {
  const seccomp = (name: string): string[] => ["--security-opt", `seccomp=${name}`];
  const runtimeDefault = seccomp(`${profiles}/runtime-default.json`);
  const localhost = seccomp(`${profiles}/agentkube-tool-runner.json`);
  const unconfined = seccomp("unconfined");
  const unmasked = ["--security-opt", "unmask=ALL"];
  const ownUsers = ["--userns", "auto:size=65536"];
  return [
    { settings: "restricted: RuntimeDefault", words: runtimeDefault, refusal: NO_NAMESPACES },
    {
      settings: "RuntimeDefault, hostUsers false",
      words: [...runtimeDefault, ...ownUsers],
      refusal: NO_NAMESPACES,
    },
    {
      settings: "RuntimeDefault, procMount Unmasked",
      words: [...runtimeDefault, ...unmasked],
      refusal: NO_NAMESPACES,
    },
    { settings: "Localhost", words: localhost, refusal: NO_PROC },
    {
      settings: "Localhost, hostUsers false",
      words: [...localhost, ...ownUsers],
      refusal: NO_PROC,
    },
    { settings: "Unconfined", words: unconfined, refusal: NO_PROC },
    {
      settings: "Localhost, procMount Unmasked",
      words: [...localhost, ...unmasked],
      refusal: null,
    },
    {
      settings: "Unconfined, procMount Unmasked",
      words: [...unconfined, ...unmasked],
      refusal: null,
    },
    {
      settings: "Localhost, procMount Unmasked, hostUsers false (what agentkube pod prints)",
      words: [...localhost, ...unmasked, ...ownUsers],
      refusal: null,
    },
    {
      settings: "the same, runAsNonRoot false, runAsUser 0",
      words: [...localhost, ...unmasked, ...ownUsers, "--user", "0:0"],
      // Root without capabilities may not even give up its groups.
      refusal: { says: /setgroups[^]*EPERM/, fix: /runAsNonRoot/ },
    },
  ];
}

/** Which sandbox tier the tool-runner gets in its container: the kernel's own answer, by `agentkube doctor`. */
export function tiersSuite(of: () => Range): void {
  suite("the sandbox tier that follows from a pod's settings", () => {
    test("is standard with namespaces allowed and /proc unmasked, and none otherwise, with the kernel's reason and the setting to change", (t) => {
      const { lab, referenceOf } = of();
      const careful = ["--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp:mode=1777"];
      const least = ["--cap-drop", "all", "--security-opt", "no-new-privileges"];
      for (const { settings, words, refusal } of rows(lab.profiles)) {
        const image = referenceOf("agentkube-tool-runner");
        const run = ["run", ...careful, ...least, ...words, image, "doctor", "--json"];
        const { stdout, stderr } = lab.podman(run);
        assert.match(stdout, /^\{/, `${settings}: ${stdout}${stderr}`);
        const { tiers } = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as DoctorResult;
        const standard = tiers.find(({ tier }) => tier === "standard");
        t.diagnostic(
          `${settings} | ${standard?.available === true ? "standard" : `none: ${standard?.error}`}`,
        );
        assert.equal(standard?.available, refusal === null, `${settings}: ${standard?.error}`);
        if (refusal === null) continue;
        assert.match(standard?.error ?? "", refusal.says, settings);
        assert.match(standard?.fix ?? "", refusal.fix, settings);
      }
    });
  });
}
