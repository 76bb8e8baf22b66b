import { fileURLToPath } from "node:url";
import type { SandboxBind, SandboxPlan } from "../kit/sandbox-arguments.ts";
import type { RunSpec } from "../protocol/run-spec.ts";
import { nativeProgram } from "../kit/native.ts";
import { HOME } from "./drivers/driver.ts";
import { NODE_IN_ZONE, REPORT_PROGRAM, REPORT_SOCKET } from "./drivers/hooks.ts";
import type { Gateway, Launch } from "./drivers/driver.ts";
import { CARRIER_IN_ZONE, carrierSource } from "./sessions/carrier.ts";
import { ARCHIVE_IN_ZONE } from "./sessions/restore-session.ts";

/** The port inside zone A on which the tool-runner answers, where the zone has its own network namespace. */
export const GATEWAY_PORT = 4180;

const AGENTKUBE_DIR = "/opt/agentkube";
/** The shim is the tool-runner's; zone A only needs the file. */
export const shimSource = fileURLToPath(new URL("../tool-runner/shim.mjs", import.meta.url));
export const SHIM_IN_ZONE = `${AGENTKUBE_DIR}/shim.mjs`;
const shimBind: SandboxBind = { source: shimSource, target: SHIM_IN_ZONE, mode: "ro" };
/** How the zone's scratch space is shared out; the parts add up to 1. */
const SCRATCH = { [HOME]: 0.5, "/tmp": 0.4375, "/run": 0.0625 };

/** What zone A is made of besides its run spec. */
export interface ZoneParts {
  files: Launch["files"];
  /** the node program of the tools' shims */
  nodePath: string;
  /** the socket on which zone A reports; null: nobody listens */
  reportSocket: string | null;
}

/** Zone A of kind `sandbox`: an allow list of the host, private scratch, and what every CLI finds in it. */
export function zonePlan(spec: RunSpec, parts: ZoneParts): SandboxPlan {
  const { zone } = spec;
  const ownNetwork = zone.network !== "host";
  return {
    init: "zone-init",
    initArgs: ownNetwork
      ? ["--listen", String(GATEWAY_PORT)]
      : // Not a part of the file system, they come with the host's network.
        ["--abstract-sockets", "own"],
    argv: [],
    hostname: spec.run,
    network: ownNetwork ? "own" : "host",
    nestedUserNamespaces: true,
    readOnlyProc: false,
    root: { kind: "system" },
    tmpfs: Object.entries(SCRATCH).map(([path, share]) => ({
      path,
      bytes: Math.max(1024 * 1024, Math.floor(zone.scratchBytes * share)),
    })),
    binds: [
      { source: zone.workspace, target: zone.workspace, mode: "rw" },
      ...zone.binds,
      // Last, so that no bind of the run covers them.
      { source: parts.nodePath, target: NODE_IN_ZONE, mode: "ro" },
      ...(parts.reportSocket === null ? [] : reportBinds(parts.reportSocket)),
      ...(spec.tools.length > 0 ? [shimBind] : []),
      { source: carrierSource, target: CARRIER_IN_ZONE, mode: "ro" },
      ...(spec.resume === undefined ? [] : archiveBind(spec.resume.archive)),
    ],
    files: [...spec.tools.map((tool) => shimFile(tool.name)), ...parts.files],
    cwd: zone.workspace,
    env: { HOME },
    processes: zone.processes,
    seccomp: "zone",
  };
}

function archiveBind(source: string): SandboxBind[] {
  return [{ source, target: ARCHIVE_IN_ZONE, mode: "ro" }];
}

function reportBinds(socket: string): SandboxBind[] {
  return [
    { source: nativeProgram("report"), target: REPORT_PROGRAM, mode: "ro" },
    // A socket is connected to through a read-only mount as well; what is kept is the file.
    { source: socket, target: REPORT_SOCKET, mode: "ro" },
  ];
}

/**
 * The environment of the CLI: nothing of the host's, one token, and the way to tools and model. In a pod the image's own comes first, with
 * its PATH in place of the system's.
 */
export function zoneEnv(
  spec: RunSpec,
  gateway: Gateway,
  own: Record<string, string>,
  image: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    ...image,
    HOME,
    USER: "agent",
    LOGNAME: "agent",
    SHELL: "/bin/sh",
    PATH: `${AGENTKUBE_DIR}/bin:${image["PATH"] ?? spec.shellPath}`,
    TERM: "xterm-256color",
    COLORTERM: "truecolor",
    LANG: "C.UTF-8",
    TMPDIR: "/tmp",
    AGENTKUBE_RUN: spec.run,
    AGENTKUBE_GATEWAY: gateway.url,
    AGENTKUBE_MCP_URL: `${gateway.url}/mcp`,
    AGENTKUBE_AGENT_TOKEN: gateway.agentToken,
    NO_PROXY: "127.0.0.1,localhost",
    no_proxy: "127.0.0.1,localhost",
    ...(spec.zone.network === "public" ? proxyEnv(gateway) : {}),
    ...own,
  };
}

function proxyEnv(gateway: Gateway): Record<string, string> {
  const url = new URL(gateway.url);
  url.username = "agent";
  url.password = gateway.agentToken;
  const proxy = url.href.replace(/\/$/, "");
  return {
    HTTP_PROXY: proxy,
    HTTPS_PROXY: proxy,
    http_proxy: proxy,
    https_proxy: proxy,
    NODE_USE_ENV_PROXY: "1",
  };
}

export function shimFile(tool: string): Launch["files"][number] {
  const line = `#!${NODE_IN_ZONE} ${SHIM_IN_ZONE}\n`;
  return { path: `${AGENTKUBE_DIR}/bin/${tool}`, data: Buffer.from(line), mode: 0o755 };
}
