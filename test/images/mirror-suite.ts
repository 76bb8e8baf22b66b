import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { ImageMatrix } from "../../src/cli/pod/images.ts";
import type { Range } from "./played-pod.ts";

/** An air-gapped cluster: images are carried as files into a registry of its own, and come from there only. */
export function mirrorSuite(of: () => Range): void {
  suite("an air-gapped mirror", () => {
    test("holds our images byte for byte, carried by skopeo as files, under the names that AGENTKUBE_IMAGE_REGISTRY gives", async () => {
      const { lab } = of();
      await using registry = await openRegistry(lab.dir);
      const outside = new ImageMatrix({});
      const mirrored = new ImageMatrix({ AGENTKUBE_IMAGE_REGISTRY: `${registry.address}/agents` });
      const layout = join(lab.dir, "carried");
      const insecure = ["--dest-tls-verify=false", "--src-tls-verify=false"];
      const digests: string[] = [];

      for (const name of ["agentlet", "session-recorder"] as const) {
        const [from, to] = [outside.component(name), mirrored.component(name)];
        assert.equal(to, from.replace("adaptivelive", `${registry.address}/agents`));
        const carried = `oci:${layout}:${name}`;
        lab.must("skopeo", ["copy", "--quiet", `containers-storage:localhost/${from}`, carried]);
        lab.must("skopeo", ["copy", "--quiet", ...insecure, carried, `docker://${to}`]);
        const inspect = (words: string[]): string =>
          lab.must("skopeo", ["inspect", "--format", "{{.Digest}}", ...words]).trim();
        assert.equal(inspect(["--tls-verify=false", `docker://${to}`]), inspect([carried]));
        digests.push(inspect([carried]));
        lab.must("podman", ["pull", "--quiet", "--tls-verify=false", to]);
        const careful = ["--rm", "--network", "none", "--read-only", "--pull", "never"];
        assert.match(lab.must("podman", ["run", ...careful, to, "--version"]), /^\d+\.\d+\.\d+$/m);
        lab.must("podman", ["rmi", to]);
      }
      assert.notEqual(digests[0], digests[1]);
    });
  });
}

async function openRegistry(dir: string): Promise<AsyncDisposable & { address: string }> {
  const address = `127.0.0.1:${await freePort()}`;
  const file = join(dir, "registry.yml");
  writeFileSync(
    file,
    `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${dir}/registry}}\nhttp: {addr: "${address}"}\n`,
  );
  const child = spawn("docker-registry", ["serve", file], { stdio: "ignore" });
  const deadline = performance.now() + 20_000;
  while (!(await answers(address))) {
    if (performance.now() > deadline || child.exitCode !== null)
      throw new Error("The registry did not start");
    await timers.setTimeout(100);
  }
  return {
    address,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    },
  };
}

async function answers(address: string): Promise<boolean> {
  return await fetch(`http://${address}/v2/`).then(
    ({ ok }) => ok,
    () => false,
  );
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
