import * as z from "zod";
import { ObjectName } from "./ids.ts";

export const API_VERSION = "agentkube.io/v1alpha1";

/** What every document says of itself. */
export const Metadata = z.strictObject({
  name: ObjectName,
  namespace: ObjectName.optional(),
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});

/** One value of a Secret or ConfigMap. */
export const KeyRef = z.strictObject({
  name: ObjectName,
  // As Kubernetes takes it; in a pod it is the name of a file.
  key: z
    .string()
    .max(253)
    .regex(
      /^(?!\.$|\.\.)[-._A-Za-z0-9]+$/,
      "expected letters, digits, dashes, dots and underscores, and no .. at the start",
    ),
});
export type KeyRef = z.infer<typeof KeyRef>;

/** Certificates to trust beside the public ones. */
export const CaBundle = z.strictObject({
  inline: z.string().includes("-----BEGIN CERTIFICATE-----"),
});

/** A field that design reserves and this version refuses by name. */
export function reserved(name: string) {
  return z
    .any()
    .optional()
    .refine((value) => value === undefined, `${name} is reserved and not yet supported; remove it`);
}

export const Secret = z.strictObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Secret"),
  metadata: Metadata,
  type: z.string().optional(),
  immutable: z.boolean().optional(),
  data: z.record(z.string(), z.base64()).optional(),
  stringData: z.record(z.string(), z.string()).optional(),
});
export type Secret = z.infer<typeof Secret>;

export const ConfigMap = z.strictObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("ConfigMap"),
  metadata: Metadata,
  immutable: z.boolean().optional(),
  data: z.record(z.string(), z.string()).optional(),
});
export type ConfigMap = z.infer<typeof ConfigMap>;
