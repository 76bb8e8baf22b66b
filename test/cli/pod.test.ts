import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Container, PodSpec } from "kubernetes-types/core/v1.d.ts";
import { PlatformError } from "../../src/kit/platform-error.ts";
import { exitCodeOf } from "../../src/cli/output.ts";
import { KeyRef } from "../../src/protocol/manifest.ts";
import { readZoneSecrets } from "../../src/recorder/zone-secrets.ts";
import { ImageMatrix } from "../../src/cli/pod/images.ts";
import { kubernetesAnnouncementOf } from "../../src/cli/pod/announcement.ts";
import { egressOf } from "../../src/cli/pod/egress.ts";
import { podObjects } from "../../src/cli/pod/pod-objects.ts";
import { checkForPod, type PodRequest } from "../../src/cli/pod/pod-request.ts";
import { printObjects } from "../../src/cli/pod/print-objects.ts";
import { Agent } from "../../src/protocol/agent-manifest.ts";
import { RegisterPod } from "../../src/protocol/pod-boot.ts";
import { Runtime } from "../../src/protocol/runtimes.ts";
import { RunSpec } from "../../src/protocol/run-spec.ts";
import { keyVariableOf } from "../../src/protocol/runtimes.ts";
import { bytesOf } from "../../src/protocol/quantities.ts";
import { Tool } from "../../src/protocol/tool-manifest.ts";
import { repository } from "../helpers/lab.ts";
import { modelProblems } from "../helpers/kubernetes-model.ts";

const GOLDEN = fileURLToPath(new URL("pod-golden/", import.meta.url));

const agentToken = { secretRef: { name: "claude-token", key: "token" } };
const githubTool: Tool = Tool.parse({
  apiVersion: "agentkube.io/v1alpha1",
  kind: "Tool",
  metadata: { name: "github-issues" },
  spec: {
    image: "ghcr.io/acme/github-issues:1.2",
    operations: [{ name: "list", command: ["/usr/bin/gh-issues", "list"] }],
    sandbox: {
      network: [
        { host: "api.github.com" },
        { host: "db.internal", private: true, address: "10.0.0.7", port: 8443 },
      ],
    },
    credentials: [
      {
        name: "github",
        secretRef: { name: "github-token", key: "token" },
        http: {
          hosts: ["api.github.com"],
          methods: ["GET"],
          paths: ["/repos/acme/"],
          header: "Authorization",
        },
      },
    ],
  },
});

function request(spec: Record<string, unknown>, more: Partial<PodRequest> = {}): PodRequest {
  const agent = Agent.parse({
    apiVersion: "agentkube.io/v1alpha1",
    kind: "Agent",
    metadata: { name: "triage-bot", labels: { team: "a", "agentkube.io/agentgroup": "support" } },
    spec: { runtime: "ClaudeCode", agentToken, ...spec },
  });
  return {
    agent,
    goal: "Triage the open issues.",
    tools: [],
    namespace: "team-a",
    run: "triage-bot",
    managerUrl: "http://agentkube-manager.agentkube-system.svc:8082",
    env: {},
    ...more,
  };
}

const custom = {
  runtime: "Custom",
  command: ["/bin/agent"],
  image: "registry.example.com/own:3",
  network: "gateway",
};
const REQUESTS: Record<string, PodRequest> = {
  "claude-with-tool": request({ mode: "system", timeout: "30m" }, { tools: [githubTool] }),
  "codex-env-delivery": request({
    runtime: "Codex",
    agentToken: { ...agentToken, delivery: "env" },
  }),
  "custom-gateway": request(custom),
};

function podOf(made: PodRequest): PodSpec {
  const pod = podObjects(made).find((object) => object.kind === "Pod");
  assert(pod !== undefined && "spec" in pod && pod.spec !== undefined && "containers" in pod.spec);
  return pod.spec;
}

function containers(spec: PodSpec): Container[] {
  return [...(spec.initContainers ?? []), ...spec.containers];
}

for (const [name, made] of Object.entries(REQUESTS)) {
  test(`the objects of ${name} are the golden ones`, () => {
    const file = `${GOLDEN}${name}.yaml`;
    const text = printObjects(podObjects(made));
    if (process.env["AGENTKUBE_WRITE_GOLDEN"] === "1") writeFileSync(file, text);
    assert.equal(text, readFileSync(file, "utf8"));
  });

  test(`the objects of ${name} hold only what the Kubernetes model knows`, () => {
    const files: Record<string, string> = { NetworkPolicy: "networking/v1.d.ts" };
    for (const object of podObjects(made))
      assert.deepEqual(
        modelProblems(files[object.kind ?? ""] ?? "core/v1.d.ts", object.kind ?? "", object),
        [],
      );
  });

  test(`the pod of ${name} mounts only volumes that it has, and uses each`, () => {
    const spec = podOf(made);
    const mounted = containers(spec).flatMap((one) => one.volumeMounts ?? []);
    const names = (spec.volumes ?? []).map((volume) => volume.name);
    assert.equal(new Set(names).size, names.length);
    assert.deepEqual([...new Set(mounted.map((mount) => mount.name))].sort(), names.toSorted());
    for (const one of containers(spec)) {
      const paths = (one.volumeMounts ?? []).map((mount) => mount.mountPath);
      assert.equal(new Set(paths).size, paths.length, `${one.name} mounts a path twice`);
    }
    const all = containers(spec).map((one) => one.name);
    assert.equal(new Set(all).size, all.length);
    for (const name of [...names, ...all])
      assert.match(name, /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/);
  });

  test(`the pod of ${name} is restricted, apart from what the tool-runner's tier names`, () => {
    const spec = podOf(made);
    for (const one of containers(spec)) {
      const own = one.securityContext ?? {};
      const problems = restrictedProblems(own);
      const named = one.name === "tool-runner" && made.tools.length > 0;
      assert.deepEqual(problems, named ? ["appArmorProfile", "procMount"] : [], one.name);
      assert.equal(own.readOnlyRootFilesystem, true, one.name);
      checkResources(one);
    }
    assert.equal(spec.automountServiceAccountToken, false);
    assert.equal(spec.hostUsers, made.tools.length > 0 ? false : undefined);
  });

  test(`in the pod of ${name} each token and secret is mounted where it belongs and nowhere else`, () => {
    const spec = podOf(made);
    const audiences = new Map<string, string>();
    for (const { name: volume, projected } of spec.volumes ?? [])
      for (const source of projected?.sources ?? [])
        audiences.set(volume, source.serviceAccountToken?.audience ?? "");
    const seen = containers(spec).map((one) => ({
      name: one.name,
      tokens: (one.volumeMounts ?? []).flatMap((mount) => audiences.get(mount.name) ?? []),
      secrets: (one.volumeMounts ?? []).some((mount) => mount.name.startsWith("secret-")),
      env: (one.env ?? []).some((entry) => entry.valueFrom?.secretKeyRef !== undefined),
    }));
    for (const { name: container, tokens, secrets, env } of seen) {
      const role = { agent: "agentlet", "session-recorder": "recorder", "tool-runner": "runner" }[
        container
      ];
      assert.deepEqual(tokens, role === undefined ? [] : [`agentkube-${role}`], container);
      if (container !== "tool-runner") assert.equal(secrets, false, container);
      const isDelivered =
        name === "codex-env-delivery" && ["agent", "session-recorder"].includes(container);
      assert.equal(env, isDelivered, container);
    }
  });
}

test("a field that Kubernetes does not have, a wrong type and a missing field are found", () => {
  const container = { name: 7, imagePullPolcy: "Never", resources: { limits: { memory: "lots" } } };
  assert.deepEqual(modelProblems("core/v1.d.ts", "PodSpec", { containers: [container] }, "spec"), [
    "spec.containers[0].name: expected string, got number",
    "spec.containers[0].imagePullPolcy: no such field",
    "spec.containers[0].resources.limits.memory: expected a quantity",
  ]);
  assert.deepEqual(modelProblems("core/v1.d.ts", "PodSpec", {}, "spec"), [
    "spec.containers: missing",
  ]);
});

/** Which fields of a container's security context the `restricted` profile of Pod Security would refuse. */
function restrictedProblems(own: NonNullable<Container["securityContext"]>): string[] {
  const kinds = ["RuntimeDefault", "Localhost"];
  const checks: Record<string, boolean> = {
    allowPrivilegeEscalation: own.allowPrivilegeEscalation === false,
    appArmorProfile: own.appArmorProfile === undefined || kinds.includes(own.appArmorProfile.type),
    capabilities:
      own.capabilities?.drop?.includes("ALL") === true && own.capabilities.add === undefined,
    privileged: own.privileged !== true,
    procMount: (own.procMount ?? "Default") === "Default",
    runAsNonRoot: own.runAsNonRoot === true && own.runAsUser !== 0,
    seccompProfile: kinds.includes(own.seccompProfile?.type ?? ""),
  };
  return Object.keys(checks).filter((check) => checks[check] === false);
}

/** Every container has its bounds, and no request that Kubernetes would refuse for being beyond them. */
function checkResources({ name, resources }: Container): void {
  const { limits = {}, requests = {} } = resources ?? {};
  for (const resource of ["cpu", "memory", "ephemeral-storage"]) {
    const [limit = "", request = ""] = [limits[resource], requests[resource]];
    assert(limit !== "" && request !== "", `${name} has request and limit of ${resource}`);
    const amount = (text: string): number => (resource === "cpu" ? cpuOf(text) : bytesOf(text));
    assert(amount(request) <= amount(limit), `${name}: ${resource} ${request} of ${limit}`);
  }
}

function cpuOf(text: string): number {
  return text.endsWith("m") ? Number(text.slice(0, -1)) / 1000 : Number(text);
}

test("an Agent with little memory asks for no more than it may have, and volumes never lose their bound", () => {
  const made = request({ ...custom, limits: { memory: "300Mi", scratch: "64Mi" } });
  const spec = podOf(made);
  for (const one of containers(spec)) checkResources(one);
  assert.equal(spec.containers[0]?.resources?.limits?.["memory"], "300Mi");
  for (const { name, emptyDir } of spec.volumes ?? [])
    if (emptyDir !== undefined) assert.match(emptyDir.sizeLimit ?? "", /^[1-9]/, name);
});

for (const [what, spec, labels, problem] of [
  [
    "memory that the agentlet alone would use",
    { limits: { memory: "64Mi" } },
    {},
    /memory.*too small/,
  ],
  ["scratch of nothing", { limits: { scratch: "1Mi" } }, {}, /scratch.*too small/],
  ["a label that Kubernetes does not take", {}, { team: "two words" }, /"team".*none that/],
  ["a label's name that Kubernetes does not take", {}, { "te am": "x" }, /"te am".*none that/],
] as const)
  test(`${what} is refused by name, before Kubernetes does`, () => {
    const made = request({ ...custom, ...spec });
    const metadata = { ...made.agent.metadata, labels };
    assert.throws(() => podObjects({ ...made, agent: { ...made.agent, metadata } }), problem);
  });

test("no string of a manifest puts a line into the objects for a reader of YAML 1.1", () => {
  const text = "a\u2028kind: ClusterRoleBinding\u0085immutable: false\u2029x\ufeff";
  const tool = Tool.parse({
    ...githubTool,
    spec: {
      ...githubTool.spec,
      description: text,
      operations: [{ name: "list", description: text, command: [text] }],
      sandbox: { env: { LANG: text } },
    },
  });
  const made = request({ ...custom, command: [text] }, { goal: text, tools: [tool] });

  const lines = printObjects(podObjects(made)).split(/\r\n|[\r\n\u0085\u2028\u2029]/);

  assert.deepEqual(
    lines.filter((line) => /^(?:kind: |immutable: false)|\ufeff/.test(line)),
    ["kind: ServiceAccount", "kind: ConfigMap", "kind: NetworkPolicy", "kind: Pod"],
  );
  const map = podObjects(made).find((object) => object.kind === "ConfigMap");
  assert(map !== undefined && "data" in map);
  const spec = RunSpec.parse(JSON.parse(map.data?.["run.json"] ?? ""));
  assert.deepEqual(
    [spec.agent.goal, spec.agent.argv, spec.tools[0]?.spec],
    [text, [text], tool.spec],
  );
});

test("a goal that no ConfigMap can hold is refused with its size", () => {
  const goal = "x".repeat(1_100_000);
  assert.throws(() => podObjects(request(custom, { goal })), /run spec is 11\d+ bytes/);
});

test("the recorder is the first sidecar, so that it stops last, and the grace periods add up", () => {
  const spec = podOf(REQUESTS["claude-with-tool"] as PodRequest);
  const sidecars = (spec.initContainers ?? []).filter((one) => one.restartPolicy === "Always");
  assert.deepEqual(
    sidecars.map((one) => one.name),
    ["session-recorder", "tool-runner"],
  );
  assert.equal(spec.initContainers?.[0]?.name, "session-recorder");
  assert.equal(spec.terminationGracePeriodSeconds, 15 + 7 + 25 + 5);
});

test("sockets lie in memory, and the agent's container cannot write where they lie", () => {
  const spec = podOf(REQUESTS["claude-with-tool"] as PodRequest);
  for (const name of ["frames", "markers", "runner"])
    assert.equal(spec.volumes?.find((volume) => volume.name === name)?.emptyDir?.medium, "Memory");
  const mounts = spec.containers[0]?.volumeMounts ?? [];
  for (const name of ["frames", "runner", "agentkube", "spec"])
    assert.equal(mounts.find((mount) => mount.name === name)?.readOnly, true, name);
});

test("the run spec in the ConfigMap is one that the entry points take", () => {
  for (const made of Object.values(REQUESTS)) {
    const map = podObjects(made).find((object) => object.kind === "ConfigMap");
    assert(map !== undefined && "data" in map);
    RunSpec.parse(JSON.parse(map.data?.["run.json"] ?? ""));
  }
});

test("what a manifest says of the record and of approvals is in the run spec, and the spool's volume is larger than its quota", () => {
  const made = request({
    ...custom,
    recording: { input: true, whenFull: "gap", quota: "32Mi" },
    approvals: "deny",
    approvalTimeout: "10m",
  });
  const map = podObjects(made).find((object) => object.kind === "ConfigMap");
  assert(map !== undefined && "data" in map);
  const { agent } = RunSpec.parse(JSON.parse(map.data?.["run.json"] ?? ""));
  const { recordInput, whenFull, spoolQuotaBytes, approvals, approvalTimeoutMs } = agent;
  assert.deepEqual(
    { recordInput, whenFull, spoolQuotaBytes, approvals, approvalTimeoutMs },
    {
      recordInput: true,
      whenFull: "gap",
      spoolQuotaBytes: 32 * 1024 ** 2,
      approvals: "deny",
      approvalTimeoutMs: 600_000,
    },
  );
  for (const one of [made, request(custom)]) {
    const { volumes = [], initContainers = [] } = podOf(one);
    const limit = volumes.find(({ name }) => name === "spool")?.emptyDir?.sizeLimit ?? "";
    const quota = one === made ? 32 * 1024 ** 2 : 4 * 1024 ** 3;
    assert(bytesOf(limit) > quota);
    const disk = initContainers[0]?.resources?.limits?.["ephemeral-storage"] ?? "";
    assert(bytesOf(disk) > bytesOf(limit), "kubelet counts the volume to the container");
  }
  assert.throws(() => podObjects(request({ ...custom, timeout: "0s" })), /more than 0/);
});

test("the tool-runner's container has room for all calls at once, each with what its tool may use", () => {
  const memory = (...limits: object[]): number => {
    const tools = limits.map((own, index) => ({
      ...githubTool,
      metadata: { name: `tool-${index}` },
      spec: { ...githubTool.spec, sandbox: { ...githubTool.spec.sandbox, limits: own } },
    }));
    const { initContainers = [] } = podOf(request(custom, { tools }));
    const runner = initContainers.find(({ name }) => name === "tool-runner");
    return bytesOf(runner?.resources?.limits?.["memory"] ?? "") / 1024 ** 2;
  };
  const own = memory();
  assert.equal(memory({ memory: "100Mi", scratch: "20Mi" }), own + 8 * 120);
  assert.equal(memory({ memory: "100Mi", scratch: "20Mi", calls: 2 }), own + 2 * 120);
  const large = { memory: "1Gi", scratch: "1Mi", calls: 3 };
  const small = { memory: "10Mi", scratch: "1Mi" };
  assert.equal(memory(small, large), own + 3 * 1025 + 5 * 11, "the largest calls count");
});

test("what the manager is told of a run names the pod and the account that the objects have", () => {
  for (const made of Object.values(REQUESTS)) {
    const told = RegisterPod.parse(JSON.parse(JSON.stringify(kubernetesAnnouncementOf(made))));
    const pod = podObjects(made).find((object) => object.kind === "Pod");
    const { namespace, name } = pod?.metadata ?? {};
    const { serviceAccountName } = podOf(made);
    assert.deepEqual(told.pod, { namespace, name, serviceAccount: serviceAccountName });
    assert.deepEqual([told.run, told.agent], [made.run, made.agent.metadata.name]);
  }
});

const OWN = "registry.example.com/own/image:9";
const MIRROR = { AGENTKUBE_IMAGE_REGISTRY: "mirror.example.com/agents/" };
const VARIABLES = {
  ClaudeCode: "CLAUDECODE",
  Codex: "CODEX",
  OpenCode: "OPENCODE",
  Aider: "AIDER",
  Cline: "CLINE",
  Goose: "GOOSE",
  Cursor: "CURSOR",
};

for (const [runtime, suffix] of Object.entries(VARIABLES)) {
  const variable = `AGENTKUBE_IMAGE_${suffix}`;
  const image = suffix.toLowerCase();
  const rows: [string, string | undefined, Record<string, string>, RegExp][] = [
    ["by default", undefined, {}, new RegExp(`^adaptivelive/${image}:[^:]+$`)],
    [
      "from a mirror",
      undefined,
      MIRROR,
      new RegExp(`^mirror\\.example\\.com/agents/${image}:[^:]+$`),
    ],
    ["by its variable", undefined, { [variable]: OWN }, /^registry\.example\.com\/own\/image:9$/],
    [
      "by its variable, verbatim, before the mirror",
      undefined,
      { [variable]: "x", ...MIRROR },
      /^x$/,
    ],
    ["by the Agent, before all", "a/b:1", { [variable]: OWN, ...MIRROR }, /^a\/b:1$/],
    [
      "as if unset where all is empty",
      "",
      { [variable]: "", AGENTKUBE_IMAGE_REGISTRY: "" },
      new RegExp(`^adaptivelive/${image}:`),
    ],
  ];
  for (const [how, own, env, expected] of rows)
    test(`the image of ${runtime} is chosen ${how}`, () => {
      assert.match(new ImageMatrix(env).runtime(Runtime.parse(runtime), own), expected);
    });
}

for (const [component, suffix, image] of [
  ["manager", "MANAGER", "agentkube-manager"],
  ["agentlet", "AGENTLET", "agentkube-agentlet"],
  ["session-recorder", "SESSION_RECORDER", "agentkube-session-recorder"],
  ["tool-runner", "TOOL_RUNNER", "agentkube-tool-runner"],
] as const)
  test(`the image of the ${component} follows its variable, then the mirror, then the default`, () => {
    const named = (env: Record<string, string>): string =>
      new ImageMatrix(env).component(component);
    assert.match(named({}), new RegExp(`^adaptivelive/${image}:[^:]+$`));
    assert.match(named(MIRROR), new RegExp(`^mirror\\.example\\.com/agents/${image}:`));
    assert.equal(named({ ...MIRROR, [`AGENTKUBE_IMAGE_${suffix}`]: OWN }), OWN);
    assert.match(named({ [`AGENTKUBE_IMAGE_${suffix}`]: "" }), /^adaptivelive\//);
  });

test("a Custom runtime has no image but its own", () => {
  assert.equal(new ImageMatrix(MIRROR).runtime("Custom", OWN), OWN);
  for (const own of [undefined, ""])
    assert.throws(() => new ImageMatrix(MIRROR).runtime("Custom", own), /spec\.image|no image/);
});

const SHA = "a".repeat(64);
for (const reference of [
  "x",
  "a/b:1",
  "localhost:5000/x",
  "registry.example.com/team/image:1.2",
  "REGISTRY.example.com/x",
  "[fd00::1]:5000/x:1",
  `a@sha256:${SHA}`,
  `r.example.com/a__b/c-d.e_f:v1.0_x-y@sha256:${SHA}`,
])
  test(`${reference} is an image, wherever it is named`, () => {
    assert.equal(new ImageMatrix({}).runtime("Custom", reference), reference);
    assert.equal(
      new ImageMatrix({ AGENTKUBE_IMAGE_CODEX: reference }).runtime("Codex", ""),
      reference,
    );
    const tool = { ...githubTool, spec: { ...githubTool.spec, image: reference } };
    assert.equal(new ImageMatrix({}).tool(tool), reference);
  });

for (const reference of [
  "two words",
  "docker://a/b",
  "https://registry.example.com/x",
  "X/Y:1",
  "Image",
  "x/y:",
  "a@sha256:0123",
  "m//a",
  "/a",
  "a/",
  "-a",
  "a:b:c",
  "a\u2028b",
  "a\n",
  `${"a/".repeat(200)}b`,
])
  test(`${JSON.stringify(reference.slice(0, 40))} is no image, and is refused by where it was named`, () => {
    const env = { AGENTKUBE_IMAGE_CODEX: reference };
    const named = (where: RegExp) => ({ code: "invalid_image", message: where });
    assert.throws(
      () => new ImageMatrix(env).runtime("Codex", undefined),
      named(/AGENTKUBE_IMAGE_CODEX/),
    );
    assert.throws(() => new ImageMatrix({}).runtime("Codex", reference), named(/spec\.image/));
    const tool = { ...githubTool, spec: { ...githubTool.spec, image: reference } };
    assert.throws(
      () => podObjects(request(custom, { tools: [tool] })),
      named(/Tool "github-issues"/),
    );
  });

for (const registry of [
  "https://r.example.com",
  "/",
  "m//",
  "r.example.com/X",
  "x/y:1",
  "two words",
  "r/@a",
])
  test(`${registry} is no registry, and is refused by its variable`, () => {
    const matrix = new ImageMatrix({ AGENTKUBE_IMAGE_REGISTRY: registry });
    assert.throws(() => matrix.component("agentlet"), {
      code: "invalid_image",
      message: /AGENTKUBE_IMAGE_REGISTRY/,
    });
  });

test("a registry may have a port and a path", () => {
  for (const registry of ["localhost:5000", "r.example.com/a/b", "team"])
    assert.match(
      new ImageMatrix({ AGENTKUBE_IMAGE_REGISTRY: registry }).component("agentlet"),
      new RegExp(`^${registry}/agentkube-agentlet:`),
    );
});

test("an image that is none is a mistake of the words: exit code 2", () => {
  assert.equal(exitCodeOf(new PlatformError("invalid_image", "Expected an image")), 2);
});

test("images are pulled with the Secrets that are named, and with none otherwise", () => {
  assert.equal(podOf(request(custom)).imagePullSecrets, undefined);
  assert.deepEqual(
    podOf(request(custom, { imagePullSecrets: ["pull.me", "b"] })).imagePullSecrets,
    [{ name: "pull.me" }, { name: "b" }],
  );
});

test("a tool that asks for control groups is refused, for its container in a pod can make none", () => {
  const strict = { ...githubTool.spec, sandbox: { tier: "strict" as const } };
  const tools = [{ ...githubTool, spec: strict }];
  assert.throws(() => checkForPod(request(custom, { tools })), {
    code: "unsupported",
    message: /tier strict.*no control groups/,
  });
});

test("a Secret that is missing keeps no container from starting, so that a program can say it", () => {
  for (const [name, made] of Object.entries(REQUESTS)) {
    const spec = podOf(made);
    for (const volume of spec.volumes ?? [])
      if (volume.secret !== undefined) assert.equal(volume.secret.optional, true, name);
    for (const { env = [] } of containers(spec))
      for (const { valueFrom } of env)
        if (valueFrom !== undefined) assert.equal(valueFrom.secretKeyRef?.optional, true, name);
  }
  const [recorder] = podOf(REQUESTS["codex-env-delivery"] as PodRequest).initContainers ?? [];
  const named = Object.fromEntries((recorder?.env ?? []).map(({ name, value }) => [name, value]));
  assert.throws(() => readZoneSecrets(named), {
    code: "secret_missing",
    message: /Secret "claude-token\/token"/,
  });
  assert.deepEqual(readZoneSecrets({ ...named, AGENTKUBE_ZONE_SECRET: "s" }), ["cw=="]);
  assert.deepEqual(readZoneSecrets({}), []);
});

const agentkube = (input: string, ...words: string[]) =>
  spawnSync(process.execPath, [join(repository, "bin/agentkube.js"), "pod", ...words], {
    input,
    encoding: "utf8",
  });

test("an Agent may come by standard input, and the notes go beside the objects", () => {
  const { status, stdout, stderr } = agentkube(
    JSON.stringify(REQUESTS["custom-gateway"]?.agent),
    "-",
    "--image-pull-secret",
    "pull",
  );
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^kind: Pod$[^]*^ {2}imagePullSecrets:\n {4}- name: pull$/m);
  assert.match(stderr, /note: egress is not fenced by name/);
});

test("an image that is none ends the command with 2, and prints no object and no announcement", () => {
  const { agent } = request({ ...custom, image: "docker://a/b" });
  for (const more of [[], ["--announcement"]]) {
    const { status, stdout, stderr } = agentkube(JSON.stringify(agent), "-", ...more);
    assert.deepEqual([status, stdout], [2, ""]);
    assert.match(stderr, /Expected an image reference in spec\.image, got "docker:\/\/a\/b"/);
  }
});

test("the key of a Secret is a file's name of its own and nothing else", () => {
  const ref = (key: string): boolean => KeyRef.safeParse({ name: "x", key }).success;
  for (const key of ["token", ".dockerconfigjson", "a-b_c.D9"]) assert.equal(ref(key), true, key);
  for (const key of ["", ".", "..", "..data", "../../x y", "a/b", "a b", "a\u2028b", "a\n"])
    assert.equal(ref(key), false, key);
});

test("each runtime finds its key in the variable of the matrix", () => {
  assert.deepEqual(
    Runtime.options.map((runtime) => keyVariableOf(runtime)),
    [
      "ANTHROPIC_API_KEY",
      "OPENAI_API_KEY",
      "OPENCODE_API_KEY",
      "OPENAI_API_KEY",
      "ANTHROPIC_API_KEY",
      "OPENAI_API_KEY",
      "CURSOR_API_KEY",
      "AGENTKUBE_MODEL_KEY",
    ],
  );
});

const PUBLIC = "0.0.0.0/0";
const provider = { runtime: "ClaudeCode", network: "gateway" };
const privateTool = (rule: object): Tool =>
  Tool.parse({
    ...githubTool,
    spec: { ...githubTool.spec, credentials: [], sandbox: { network: [rule] } },
  });

for (const [what, made, open, notes] of [
  ["public", request({}), [[PUBLIC, 80, 443]], []],
  ["gateway, with the model at its provider", request(provider), [[PUBLIC, 443]], [/not fenced/]],
  ["gateway, with no key and no tool", request({ ...custom, agentToken: undefined }), [], []],
  [
    "gateway, with a private endpoint that is an address",
    request({ ...custom, model: { endpoint: { url: "http://10.9.8.7:4000/v1", private: true } } }),
    [["10.9.8.7/32", 4000]],
    [],
  ],
  [
    "gateway, with a private endpoint that is an IPv6 address",
    request({ ...custom, model: { endpoint: { url: "https://[fd00::7]", private: true } } }),
    [["fd00::7/128", 443]],
    [],
  ],
  [
    "gateway, with a private endpoint that has a name",
    request({ ...custom, model: { endpoint: { url: "http://llm.ml.svc:4000", private: true } } }),
    [],
    [/no way to the model's endpoint llm\.ml\.svc:4000.*agentkube\.io\/run: triage-bot/],
  ],
  [
    "gateway, with a public endpoint",
    request({ ...custom, model: { endpoint: { url: "https://llm.example.com:8443" } } }),
    [[PUBLIC, 8443]],
    [/not fenced.* 8443 /],
  ],
  [
    "gateway, with a private host of a tool that has an address",
    request(
      { ...custom, agentToken: undefined },
      { tools: [privateTool({ host: "db.internal", private: true, address: "10.0.0.7" })] },
    ),
    [["10.0.0.7/32", 443]],
    [],
  ],
  [
    "gateway, with a private host of a tool that has a name",
    request(
      { ...custom, agentToken: undefined },
      { tools: [privateTool({ host: "db.internal", private: true, port: 5432 })] },
    ),
    [],
    [/no way to host db\.internal:5432 of Tool "github-issues".*give the rule an address/],
  ],
  [
    "gateway, with a public host of a tool",
    request(
      { ...custom, agentToken: undefined },
      { tools: [privateTool({ host: "api.example.com", port: 8443 })] },
    ),
    [[PUBLIC, 8443]],
    [/not fenced/],
  ],
] as const)
  test(`network of a pod: ${what}`, () => {
    const { rules, notes: said } = egressOf(made);
    const [toManager, toNames, ...others] = rules;
    assert.deepEqual(
      others.map(({ to, ports }) => [
        to?.[0]?.ipBlock?.cidr,
        ...(ports ?? []).map((each) => each.port),
      ]),
      open,
    );
    assert.equal(toManager?.to?.[0]?.ipBlock, undefined);
    assert.deepEqual(
      toNames?.ports?.map(({ port }) => port),
      [53, 53],
    );
    assert.equal(said.length, notes.length, said.join("\n"));
    for (const [index, note] of notes.entries()) assert.match(said[index] ?? "", note);
  });

test("the way to the manager is that of its address or of its Service; of another name it is said that there is none", () => {
  const wayTo = (managerUrl: string) => {
    const { rules, notes } = egressOf(
      request({ ...custom, agentToken: undefined }, { managerUrl }),
    );
    const first = rules.find(({ ports }) => ports?.[0]?.port !== 53);
    const { ipBlock, namespaceSelector, podSelector } = first?.to?.[0] ?? {};
    const labels = { ...namespaceSelector?.matchLabels, ...podSelector?.matchLabels };
    return [ipBlock?.cidr ?? labels, first?.ports?.[0]?.port, notes.length];
  };
  const service = (namespace: string, name: string): object => ({
    "kubernetes.io/metadata.name": namespace,
    "app.kubernetes.io/name": name,
  });
  const own = service("agentkube-system", "agentkube-manager");
  assert.deepEqual(wayTo("http://agentkube-manager.agentkube-system.svc:8082"), [own, 8082, 0]);
  assert.deepEqual(wayTo("https://am.ops.svc.cluster.local"), [service("ops", "am"), 443, 0]);
  assert.deepEqual(wayTo("https://10.1.2.3:8443"), ["10.1.2.3/32", 8443, 0]);
  assert.deepEqual(wayTo("http://[fd00::1]"), ["fd00::1/128", 80, 0]);
  assert.deepEqual(wayTo("https://manager.example.com"), [{}, undefined, 1]);
});

test("an Agent that is called like what a namespace has of its own touches none of it, and each run has objects of its own", () => {
  const named = (name: string, run: string): string[] => {
    const made = request(custom, { run });
    const agent = { ...made.agent, metadata: { name } };
    return podObjects({ ...made, agent }).map(
      (object) => `${object.kind}/${object.metadata?.name}`,
    );
  };
  assert.deepEqual(named("default", "default"), [
    "ServiceAccount/agentkube-default",
    "ConfigMap/agentkube-default",
    "NetworkPolicy/agentkube-default",
    "Pod/default",
  ]);
  const [first, second] = [named("bot", "bot"), named("bot", "bot-2")];
  assert.deepEqual(
    first.filter((name) => second.includes(name)),
    [],
  );
  const longest = ["x", "y"].map((end) => named("bot", `${"a".repeat(62)}${end}`));
  assert.equal(new Set(longest.flat()).size, 8);
  for (const name of longest.flat()) assert(name.replace(/^.*\//, "").length <= 63, name);
});

test("labels of agentkube.io cannot be set by a manifest, apart from the agent group", () => {
  const made = REQUESTS["claude-with-tool"] as PodRequest;
  const metadata = { ...made.agent.metadata, labels: { "agentkube.io/role": "runner" } };
  assert.throws(
    () => podObjects({ ...made, agent: { ...made.agent, metadata } }),
    /"agentkube\.io\/role".*reserved/,
  );
});

test("a tool without an image is refused, for a pod cannot take a directory", () => {
  const made = REQUESTS["claude-with-tool"] as PodRequest;
  const { image: _, ...spec } = githubTool.spec;
  for (const own of [spec, { ...spec, image: "" }])
    assert.throws(
      () => podObjects({ ...made, tools: [{ ...githubTool, spec: own }] }),
      /has no image/,
    );
});

test("tools and secrets with the longest names get names of their own", () => {
  const names = ["a".repeat(62) + "x", "a".repeat(62) + "y", "runner"];
  const tools = names.map((name) => ({
    ...githubTool,
    metadata: { name },
    spec: {
      ...githubTool.spec,
      credentials: githubTool.spec.credentials?.map((one) => ({
        ...one,
        secretRef: { name, key: "k" },
      })),
    },
  }));
  const spec = podOf(request({}, { tools }));
  const all = [
    ...containers(spec).map((one) => one.name),
    ...(spec.volumes ?? []).map((one) => `v/${one.name}`),
  ];
  assert.equal(new Set(all).size, all.length);
  for (const name of all) assert(name.replace("v/", "").length <= 63, name);
});
