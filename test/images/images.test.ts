import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { buildImages, lacksContainers, openContainerLab } from "./container-lab.ts";
import type { BuiltImage, ContainerLab } from "./container-lab.ts";
import { curiousAgentSuite } from "./curious-agent-suite.ts";
import { mirrorSuite } from "./mirror-suite.ts";
import { podSuite } from "./pod-suite.ts";
import { badInputSuite } from "./bad-input-suite.ts";
import { tiersSuite } from "./tiers-suite.ts";
import { podToolsSuite } from "./pod-tools-suite.ts";

const OURS = [
  "agentkube-agentlet",
  "agentkube-tool-runner",
  "agentkube-session-recorder",
  "agentkube-manager",
];
const MAX_BYTES = 150_000_000;

suite("images", { skip: lacksContainers() }, () => {
  let lab: ContainerLab;
  let built: BuiltImage[];

  before(() => {
    lab = openContainerLab();
    built = buildImages(lab, [...OURS, "claudecode", "custom-example"]);
  });
  after(() => lab[Symbol.dispose]());

  function referenceOf(name: string): string {
    const found = built.find((image) => image.name === name);
    assert(found !== undefined, `${name} was built`);
    return found.reference;
  }

  for (const name of OURS)
    test(`${name} is at most 150 MB unpacked and runs as an ordinary user on a read-only root without a network`, () => {
      const image = built.find((one) => one.name === name);
      assert(image !== undefined && image.bytes <= MAX_BYTES, `${image?.bytes} bytes`);
      const careful = ["--network", "none", "--read-only", "--cap-drop", "all"];
      const { stdout, stderr } = lab.podman([
        "run",
        "--rm",
        ...careful,
        image.reference,
        "--version",
      ]);
      assert.match(stdout, /^\d+\.\d+\.\d+$/m, stderr);
      const user = lab.podman([
        "image",
        "inspect",
        "--format",
        "{{.Config.User}}",
        image.reference,
      ]);
      assert.match(user.stdout, /^(?:1000|2100|2200|2300):/);
    });

  test("images of ours carry labels with name, version and licence", () => {
    for (const name of OURS) {
      const format = "{{range $key, $value := .Config.Labels}}{{$key}}={{$value}}\n{{end}}";
      const { stdout } = lab.podman(["image", "inspect", "--format", format, referenceOf(name)]);
      assert.match(stdout, new RegExp(`org\\.opencontainers\\.image\\.title=${name}`));
      assert.match(stdout, /image\.version=\d+\.\d+\.\d+/);
      assert.match(stdout, /image\.licenses=Apache-2\.0/);
    }
  });

  test("the runtime image holds the CLI, as an ordinary user, and nothing of agentkube", () => {
    const claude = referenceOf("claudecode");
    const version = lab.podman(["run", "--rm", "--network", "none", claude, "claude", "--version"]);
    assert.match(version.stdout, /^\d+\.\d+\.\d+ \(Claude Code\)/, version.stderr);
    const search = ["sh", "-c", "id -u; ls -d /opt/agentkube 2>&1"];
    const { stdout } = lab.podman(["run", "--rm", "--network", "none", claude, ...search]);
    assert.match(stdout, /^1000\n.*No such file/);
  });

  test("the injected folder runs in an image without any C library, and in one that has its own", () => {
    const folder = join(lab.dir, "injected");
    mkdirSync(folder, { mode: 0o777 });
    const agentlet = referenceOf("agentkube-agentlet");
    const mount = ["--network", "none", "--user", "0", "-v", `${folder}:/install`];
    const copied = lab.podman(["run", "--rm", ...mount, agentlet, "install", "/install"]);
    assert.equal(copied.status, 0, copied.stderr);
    writeFileSync(join(lab.dir, "Containerfile"), 'FROM scratch\nCMD ["/none"]\n');
    lab.must("buildah", [
      "build",
      "--isolation",
      "chroot",
      "-t",
      "localhost/empty:1",
      "-f",
      join(lab.dir, "Containerfile"),
      lab.dir,
    ]);
    for (const image of ["localhost/empty:1", referenceOf("custom-example")]) {
      const careful = ["--network", "none", "--read-only", "-v", `${folder}:/opt/agentkube-bin:ro`];
      const entry = ["--entrypoint", "/opt/agentkube-bin/bin/tini", image];
      const words = [
        "--",
        "/opt/agentkube-bin/bin/node",
        "/opt/agentkube-bin/bin/agentkube.js",
        "--version",
      ];
      const { stdout, stderr } = lab.podman(["run", "--rm", ...careful, ...entry, ...words]);
      assert.match(stdout, /^\d+\.\d+\.\d+$/m, `${image}: ${stderr}`);
    }
  });

  for (const pods of [
    mirrorSuite,
    tiersSuite,
    podToolsSuite,
    curiousAgentSuite,
    podSuite,
    badInputSuite,
  ])
    pods(() => ({ lab, referenceOf }));
});
