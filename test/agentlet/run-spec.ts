import { RunSpec } from "../../src/protocol/run-spec.ts";
import { PROTOCOL } from "../../src/protocol/version.ts";

/** A valid run spec of a Custom agent; what a test cares about is given. */
export function aRunSpec(
  given: {
    agent?: Partial<RunSpec["agent"]>;
    network?: RunSpec["zone"]["network"];
    zone?: Partial<RunSpec["zone"]>;
    tools?: string[];
    directory?: string;
    managerUrl?: string;
  } = {},
): RunSpec {
  const directory = given.directory ?? "/tmp/run";
  return RunSpec.parse({
    protocol: PROTOCOL,
    run: "tester-0123abcd",
    agentName: "tester",
    epoch: 1,
    manager: { url: given.managerUrl ?? "http://127.0.0.1:9" },
    sockets: {
      recorder: `${directory}/rec.sock`,
      markers: `${directory}/mark.sock`,
      runner: `${directory}/run.sock`,
    },
    runtimeDir: directory,
    spoolDir: directory,
    agent: {
      runtime: "Custom",
      mode: "supervised",
      goal: null,
      model: undefined,
      argv: ["/bin/true"],
      timeoutMs: null,
      recordInput: false,
      recordingEnabled: true,
      ...given.agent,
    },
    terminal: { cols: 80, rows: 24 },
    zone: {
      kind: "sandbox",
      network: given.network ?? "gateway",
      workspace: `${directory}/workspace`,
      binds: [],
      memoryBytes: 1024 * 1024 * 1024,
      processes: 128,
      scratchBytes: 64 * 1024 * 1024,
      ...given.zone,
    },
    tools: (given.tools ?? []).map((name) => ({
      name,
      spec: { operations: [{ name: "list", command: ["/bin/true"] }] },
      packageDir: null,
      digest: `sha256:${"0".repeat(64)}`,
    })),
    modelEndpoint: null,
    shellPath: "/usr/local/bin:/usr/bin:/bin",
  });
}
