import * as z from "zod";
import { ObjectName } from "./ids.ts";
import { API_VERSION, CaBundle, KeyRef, Metadata, reserved } from "./manifest.ts";
import { bytesOf, Duration, Quantity, quantityFrom } from "./quantities.ts";
import { hasOwnService, ModelProvider, Runtime } from "./runtimes.ts";

export const Mode = z.enum(["supervised", "system"]);
export type Mode = z.infer<typeof Mode>;

export const ZoneNetwork = z.enum(["public", "gateway", "host"]);
export type ZoneNetwork = z.infer<typeof ZoneNetwork>;

/** An upstream of one's own: where the model API answers. */
export const ModelEndpoint = z.strictObject({
  url: z.url({ protocol: /^https?$/ }),
  private: z.boolean().optional().describe("the address may be loopback or private"),
  ca: CaBundle.optional(),
});
export type ModelEndpoint = z.infer<typeof ModelEndpoint>;

/** What a run's model requests may take together. At a limit the gateway refuses further ones. */
export const ModelBudget = z
  .strictObject({
    requests: z.int().positive().optional().describe("requests that make a model answer"),
    inputTokens: z.int().positive().optional().describe("cached ones included"),
    outputTokens: z.int().positive().optional(),
    totalTokens: z.int().positive().optional().describe("input and output together"),
  })
  .refine(
    (budget) => Object.values(budget).some((limit) => limit !== undefined),
    "expected at least one of requests, inputTokens, outputTokens, totalTokens",
  );
export type ModelBudget = z.infer<typeof ModelBudget>;

/** What answers when the CLI asks for permission: a person, always yes, always no. */
export const ApprovalAnswer = z.enum(["ask", "allow", "deny"]);
export type ApprovalAnswer = z.infer<typeof ApprovalAnswer>;

/** One answer for everything, or rules of which the first that matches the tool's name answers; `ask` when none does, or when a list would allow what names none. */
export const Approvals = z.union([
  ApprovalAnswer,
  z
    .array(
      z.strictObject({
        tool: z
          .string()
          .min(1)
          .max(256)
          .describe("the CLI's own name of its tool (docs/states.md has them); `*` any characters"),
        answer: ApprovalAnswer,
      }),
    )
    .min(1)
    .max(64),
]);
export type Approvals = z.infer<typeof Approvals>;

/** What happens when the disk of the spool is full: the terminal waits, a gap is recorded, or the run ends. */
export const WhenFull = z.enum(["block", "gap", "terminate"]);
export type WhenFull = z.infer<typeof WhenFull>;

/** Below it the reserve for the closing lines would be most of the file. */
export const MIN_SPOOL_QUOTA_BYTES = 16 * 1024 * 1024;

export const AgentSpec = z
  .strictObject({
    runtime: Runtime,
    mode: Mode.optional(),
    paused: z.boolean().optional(),
    goal: z
      .union([
        z.strictObject({ inline: z.string().max(5 * 1024 * 1024) }),
        z.strictObject({ configMapKeyRef: KeyRef }),
      ])
      .optional(),
    model: z
      .strictObject({
        name: z.string().min(1).max(200).optional(),
        provider: ModelProvider.optional(),
        endpoint: ModelEndpoint.optional(),
        budget: ModelBudget.optional(),
      })
      .optional(),
    agentToken: z
      .strictObject({ secretRef: KeyRef, delivery: z.enum(["brokered", "env"]).optional() })
      .optional(),
    image: z.string().max(1024).optional(),
    command: z
      .array(z.string().min(1).max(131_072))
      .max(1024)
      .optional()
      .describe("argv of the CLI; Custom only"),
    tools: z.array(ObjectName).max(256).optional(),
    timeout: Duration.optional(),
    limits: z
      .strictObject({
        memory: quantityFrom("1Mi").optional(),
        processes: z.int().min(1).max(1_000_000).optional(),
        scratch: quantityFrom("4Ki").optional(),
      })
      .optional(),
    network: ZoneNetwork.optional(),
    mounts: z
      .array(z.strictObject({ path: z.string().min(1).max(4096), mode: z.enum(["ro", "rw"]) }))
      .max(64)
      .optional(),
    recording: z
      .strictObject({
        enabled: z.boolean().optional(),
        input: z.boolean().optional(),
        whenFull: WhenFull.optional(),
        quota: Quantity.refine((quantity) => bytesOf(quantity) >= MIN_SPOOL_QUOTA_BYTES, {
          error: "expected at least 16Mi",
        })
          .optional()
          .describe("largest size of the recording on the recorder's disk; default 8Gi"),
      })
      .optional(),
    approvals: Approvals.optional(),
    approvalTimeout: Duration.optional().describe(
      "how long an unattended ask waits for an answer before it is refused",
    ),
    memory: reserved("memory"),
    schedule: reserved("schedule"),
    mcpRefs: reserved("mcpRefs"),
  })
  .superRefine((spec, context) => {
    if (spec.runtime === "Custom" && (spec.command === undefined || spec.command.length === 0)) {
      context.addIssue({
        code: "custom",
        path: ["command"],
        message: "runtime Custom needs command: the argv of the CLI",
      });
    }
    if (spec.runtime !== "Custom" && spec.command !== undefined && spec.command.length > 0) {
      context.addIssue({
        code: "custom",
        path: ["command"],
        message: "command is for runtime Custom only",
      });
    }
    if (
      hasOwnService(spec.runtime) &&
      spec.agentToken?.delivery !== "env" &&
      spec.agentToken !== undefined
    ) {
      context.addIssue({
        code: "custom",
        path: ["agentToken", "delivery"],
        message: `${spec.runtime} has no custom endpoint, so brokered delivery is refused; use delivery: env`,
      });
    }
  });
export type AgentSpec = z.infer<typeof AgentSpec>;

export const Agent = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("Agent"),
  metadata: Metadata,
  spec: AgentSpec,
});
export type Agent = z.infer<typeof Agent>;
