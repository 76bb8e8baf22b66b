import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import * as z from "zod";
import { messageOf, PlatformError } from "../kit/platform-error.ts";
import { type KubernetesApi, kubernetesApiOf } from "./token-review.ts";
import { bytesOf, Quantity } from "../protocol/quantities.ts";

const DEFAULT_CAP = "20Gi";

const Words = z.object({
  data: z.string().min(1).optional(),
  port: z
    .string()
    .regex(/^[0-9]{1,5}$/)
    .transform(Number)
    .refine((port) => port <= 65_535)
    .default(0),
  ephemeral: z.boolean().default(false),
  listen: z.union([z.ipv4(), z.ipv6()]).default("127.0.0.1"),
  host: z
    .array(z.string().regex(/^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/, "no host name"))
    .default([]),
  "cap-bytes": Quantity.default(DEFAULT_CAP),
  "pod-tokens": z.enum(["hashes", "kubernetes"]).default("hashes"),
});

const EXPECTED: Record<keyof typeof Words.shape, string> = {
  data: "a directory",
  port: "a port from 0 to 65535",
  ephemeral: "nothing",
  listen: "an IP address",
  host: "a host name",
  "cap-bytes": "a size such as 20Gi",
  "pod-tokens": "hashes or kubernetes",
};

/** What the words after `agentkube manager` and the environment say. */
export interface ManagerConfig {
  dataDir: string;
  port: number;
  listen: string;
  hosts: string[];
  ephemeral: boolean;
  capBytes: number;
  /** null: tokens of pods are known by their hashes */
  kubernetes: KubernetesApi | null;
}

/** Throws `PlatformError` `usage` that names the word. */
export function readConfig(argv: string[], env: NodeJS.ProcessEnv): ManagerConfig {
  const values = parseWords(argv);
  const words = Words.safeParse(values);
  if (!words.success) {
    const [name, index] = words.error.issues[0]?.path ?? [];
    const word = String(name) as keyof typeof EXPECTED;
    const given = [values[word]].flat()[Number(index ?? 0)];
    throw usage(`Expected ${EXPECTED[word]} after --${word}, got "${String(given)}"`);
  }
  const { data, port, listen, host, ephemeral, "cap-bytes": cap } = words.data;
  return {
    dataDir: resolve(data ?? defaultDataDir(env)),
    port,
    listen,
    hosts: host,
    ephemeral,
    capBytes: bytesOf(cap),
    kubernetes: words.data["pod-tokens"] === "kubernetes" ? kubernetesApiOf(env) : null,
  };
}

function parseWords(argv: string[]): Record<string, unknown> {
  try {
    const { values } = parseArgs({
      args: argv,
      options: {
        data: { type: "string" },
        port: { type: "string" },
        ephemeral: { type: "boolean" },
        listen: { type: "string" },
        host: { type: "string", multiple: true },
        "cap-bytes": { type: "string" },
        "pod-tokens": { type: "string" },
        json: { type: "boolean" },
      },
    });
    return { ...values };
  } catch (error) {
    throw usage(messageOf(error));
  }
}

function defaultDataDir(env: NodeJS.ProcessEnv): string {
  const named = env["AGENTKUBE_DATA"];
  if (named !== undefined && named !== "") return named;
  const state = env["XDG_STATE_HOME"];
  // The XDG rules: a relative path there is ignored.
  const base = state?.startsWith("/") === true ? state : join(homedir(), ".local", "state");
  return join(base, "agentkube");
}

function usage(message: string): PlatformError {
  return new PlatformError("usage", message, {
    fix: "agentkube manager --data DIR [--port N] [--listen ADDRESS] [--host NAME] [--ephemeral] [--cap-bytes 20Gi] [--pod-tokens hashes|kubernetes]",
  });
}
