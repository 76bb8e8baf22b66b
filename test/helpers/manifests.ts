// Builders of the manifests that end-to-end tests run.
import { chmodSync, copyFileSync, linkSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

/** A Custom agent that runs a shell script. */
export function anAgent(script: string, spec: object = {}): object {
  return {
    apiVersion: "agentkube.io/v1alpha1",
    kind: "Agent",
    metadata: { name: "lab" },
    spec: {
      runtime: "Custom",
      network: "gateway",
      timeout: "60s",
      command: ["/bin/sh", "-c", script],
      ...spec,
    },
  };
}

/** A Tool of one operation, `run`, whose command is `./tool` of the package. */
export function aTool(name: string, spec: object = {}): object {
  return {
    apiVersion: "agentkube.io/v1alpha1",
    kind: "Tool",
    metadata: { name },
    spec: {
      type: "custom",
      description: `The tool ${name} of a test.`,
      package: `./${name}`,
      operations: [{ name: "run", description: "Run it.", command: ["./tool"] }],
      ...spec,
    },
  };
}

/** Writes a package directory whose `./tool` is this program. The shebang is the program's own. */
export function writePackage(directory: string, program: string): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(path.join(directory, "tool"), program, { mode: 0o755 });
}

/** Puts the Node of this process into a package, for programs that begin with `#!/opt/tool/node`. */
export function addNode(directory: string): void {
  const target = path.join(directory, "node");
  try {
    linkSync(process.execPath, target);
  } catch {
    copyFileSync(process.execPath, target);
    chmodSync(target, 0o755);
  }
}

/** What a Tool needs to reach an API on the loopback that asks for `Authorization: Bearer SECRET`. */
export function reachApi(api: { port: number; caPem: string }): object {
  const host = `api.hello.internal:${api.port}`;
  return {
    sandbox: {
      network: [
        {
          host: "api.hello.internal",
          port: api.port,
          private: true,
          address: "127.0.0.1",
          ca: { inline: api.caPem },
        },
      ],
      env: { HELLO_API: `https://${host}` },
      timeout: "20s",
    },
    credentials: [
      {
        name: "greeting-service",
        secretRef: { name: "hello-token", key: "token" },
        http: {
          hosts: [host],
          methods: ["GET"],
          paths: ["/v1/greeting"],
          header: "Authorization",
          format: "Bearer {{secret}}",
        },
      },
    ],
  };
}
