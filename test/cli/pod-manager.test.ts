import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parseAllDocuments } from "yaml";
import * as z from "zod";
import { DEFAULT_MANAGER } from "../../src/cli/commands/pod.ts";
import { egressOf } from "../../src/cli/pod/egress.ts";
import { ImageMatrix } from "../../src/cli/pod/images.ts";
import { Agent } from "../../src/protocol/agent-manifest.ts";
import { modelProblems } from "../helpers/kubernetes-model.ts";

const FILE = new URL("../../images/agentkube-manager/kubernetes.yaml", import.meta.url);

const Named = z.looseObject({ kind: z.string(), metadata: z.looseObject({ name: z.string() }) });
const Deployment = z.looseObject({
  metadata: z.looseObject({ namespace: z.string() }),
  spec: z.looseObject({
    template: z.looseObject({
      metadata: z.strictObject({ labels: z.record(z.string(), z.string()) }),
      spec: z.looseObject({
        containers: z.tuple([
          z.looseObject({
            image: z.string(),
            args: z.array(z.string()),
            ports: z.tuple([z.looseObject({ name: z.string(), containerPort: z.int() })]),
          }),
        ]),
      }),
    }),
  }),
});
const Service = z.looseObject({
  spec: z.looseObject({
    selector: z.record(z.string(), z.string()),
    ports: z.tuple([z.looseObject({ port: z.int(), targetPort: z.string() })]),
  }),
});

const objects = parseAllDocuments(readFileSync(FILE, "utf8")).map((document) => {
  assert.deepEqual(document.errors, []);
  return document.toJS() as unknown;
});
const find = (kind: string): unknown => objects.find((object) => Named.parse(object).kind === kind);

test("the manager's objects hold only what the Kubernetes model knows", () => {
  const files: Record<string, string> = { ClusterRoleBinding: "rbac/v1.d.ts" };
  for (const object of objects) {
    const { kind } = Named.parse(object);
    if (kind === "Deployment") continue;
    assert.deepEqual(modelProblems(files[kind] ?? "core/v1.d.ts", kind, object), []);
  }
  const { template } = Deployment.parse(find("Deployment")).spec;
  assert.deepEqual(modelProblems("core/v1.d.ts", "PodTemplateSpec", template), []);
});

test("the manager's pod is where the NetworkPolicy of a run lets it out to, and its Service changes no port", () => {
  const agent = Agent.parse({
    apiVersion: "agentkube.io/v1alpha1",
    kind: "Agent",
    metadata: { name: "bot" },
    spec: { runtime: "ClaudeCode" },
  });
  const run = { agent, goal: null, tools: [], namespace: "default", run: "bot", env: {} };
  const [way] = egressOf({ ...run, managerUrl: DEFAULT_MANAGER }).rules;
  const { metadata, spec } = Deployment.parse(find("Deployment"));
  const [{ image, args, ports }] = spec.template.spec.containers;
  const service = Service.parse(find("Service")).spec;

  assert.deepEqual(way?.to, [
    {
      namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": metadata.namespace } },
      podSelector: { matchLabels: spec.template.metadata.labels },
    },
  ]);
  const { hostname, port } = new URL(DEFAULT_MANAGER);
  assert.equal(way?.ports?.[0]?.port, ports[0].containerPort);
  assert.deepEqual(
    [String(ports[0].containerPort), args[args.indexOf("--port") + 1]],
    [port, port],
  );
  assert.deepEqual(service.ports[0].targetPort, ports[0].name);
  assert.equal(String(service.ports[0].port), port);
  assert.deepEqual(service.selector, spec.template.metadata.labels);
  assert.equal(args[args.indexOf("--host") + 1], hostname);
  assert.equal(image, new ImageMatrix({}).component("manager"));
});
