import * as z from "zod";
import { ObjectName } from "./ids.ts";
import { API_VERSION, CaBundle, KeyRef, Metadata, reserved } from "./manifest.ts";
import { Duration, Quantity, quantityFrom } from "./quantities.ts";

/** `host` or `host:port` in a credential rule; lowercase A-labels, no trailing dot, no IP literal, no wildcard. */
const HostName = z
  .string()
  .max(253)
  .regex(
    /^(?!(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/,
    "expected one host name in lowercase: no wildcard, no IP address in any spelling, no trailing dot",
  );
const HostPort = z
  .string()
  .max(260)
  .regex(
    /^(?!(?:[^:]*\.)?(?:[0-9]+|0x[0-9a-f]*)(?::|$))[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::[1-9][0-9]{0,4})?$/,
    "expected host or host:port in lowercase: no wildcard, no IP address in any spelling, no trailing dot",
  );

export const ToolType = z.enum([
  "ssh",
  "postgres",
  "mysql",
  "sqlserver",
  "mongodb",
  "redis",
  "clickhouse",
  "kubernetes",
  "http",
  "snowflake",
  "bigquery",
  "elasticsearch",
  "kafka",
  "oracle",
  "cockroachdb",
  "redshift",
  "rabbitmq",
  "custom",
]);

/** A host a tool's sandbox may reach, through the boundary only. */
export const NetworkRule = z.strictObject({
  host: HostName,
  port: z.int().min(1).max(65_535).optional().describe("default 443"),
  private: z.boolean().optional().describe("the address may be loopback or private"),
  address: z.union([z.ipv4(), z.ipv6()]).optional().describe("dialled instead of what DNS says"),
  ca: CaBundle.optional(),
  opaque: z
    .boolean()
    .optional()
    .describe("bytes pass unread inside CONNECT; no credential can be put in"),
});
export type NetworkRule = z.infer<typeof NetworkRule>;

const HttpMethod = z.enum(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** How much one call may use a credential; what is left out is bounded by the call's own limits alone. */
const CredentialBudget = z.strictObject({
  requests: z.int().min(1).max(1_000_000).optional().describe("requests that carry it"),
  connections: z.int().min(1).max(64).optional().describe("requests that carry it at once"),
  up: Quantity.optional().describe("body bytes of these requests together"),
  down: Quantity.optional().describe("body bytes of their answers together"),
  time: Duration.optional().describe("from the first of these requests on"),
});
export type CredentialBudget = z.infer<typeof CredentialBudget>;

/** Which requests carry a credential, and how it is rendered into them. Exactly one of header, basic, query. */
export const HttpCredential = z
  .strictObject({
    hosts: z.array(HostPort).min(1).max(64),
    methods: z.array(HttpMethod).min(1),
    paths: z
      .array(
        z
          .string()
          .max(2048)
          .regex(/^\/[^?#\\]*$/, "expected a path that begins with /, without ? # or \\"),
      )
      .min(1)
      .max(256)
      .describe("exact, or ends in / for whole segments below; {name} is one segment"),
    header: z
      .string()
      .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/)
      .optional(),
    format: z
      .string()
      .includes("{{secret}}")
      .max(1024)
      .optional()
      .describe("the header's value, default {{secret}}"),
    basic: z.strictObject({ username: z.string().max(256) }).optional(),
    query: z
      .string()
      .regex(/^[A-Za-z0-9_.~-]+$/)
      .optional(),
    budget: CredentialBudget.optional(),
    hmac: reserved("http.hmac"),
    sigv4: reserved("http.sigv4"),
    oauth: reserved("http.oauth"),
    mtls: reserved("http.mtls"),
  })
  .superRefine((rule, context) => {
    const forms = [rule.header, rule.basic, rule.query].filter((form) => form !== undefined);
    if (forms.length !== 1) {
      context.addIssue({ code: "custom", message: "expected exactly one of header, basic, query" });
    }
    if (rule.format !== undefined && rule.header === undefined) {
      context.addIssue({ code: "custom", path: ["format"], message: "format goes with header" });
    }
  });
export type HttpCredential = z.infer<typeof HttpCredential>;

const EnvName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "expected the name of an environment variable");

export const Credential = z
  .strictObject({
    name: ObjectName,
    secretRef: KeyRef,
    http: HttpCredential.optional(),
    env: EnvName.optional().describe("exposure: tool; the value is in the tool's environment"),
    file: z
      .string()
      .startsWith("/")
      .optional()
      .describe("exposure: tool; the value is in this file of the sandbox"),
    placeholderEnv: EnvName.optional(),
    postgres: reserved("postgres"),
    redis: reserved("redis"),
    mysql: reserved("mysql"),
    ssh: reserved("ssh"),
    kubernetes: reserved("kubernetes"),
  })
  .superRefine((credential, context) => {
    const forms = [credential.http, credential.env, credential.file].filter(
      (form) => form !== undefined,
    );
    if (forms.length !== 1) {
      context.addIssue({
        code: "custom",
        message: "expected exactly one delivery: http, env or file",
      });
    }
  });
export type Credential = z.infer<typeof Credential>;

const JsonSchemaObject = z.record(z.string(), z.unknown());

export const Operation = z.strictObject({
  name: z
    .string()
    .regex(
      /^[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?$/,
      "expected lowercase letters, digits, - and _",
    ),
  description: z.string().max(4096).optional(),
  inputSchema: JsonSchemaObject.optional().describe(
    "JSON Schema of the arguments; default: no arguments",
  ),
  outputSchema: JsonSchemaObject.optional(),
  command: z
    .array(z.string().min(1))
    .min(1)
    .max(256)
    .describe("argv; {{name}} stays inside its word; never a shell"),
  stdin: z.enum(["none", "json"]).optional(),
  files: z
    .array(z.string().min(1).max(512))
    .max(16)
    .optional()
    .describe(
      "result files: paths relative to the working directory, * and ? within a name; read once the tool is dead",
    ),
  allowDash: z.array(z.string()).optional().describe("arguments whose values may begin with -"),
});
export type Operation = z.infer<typeof Operation>;

export const Tier = z.enum(["landlock", "standard", "strict", "pod"]);
export type Tier = z.infer<typeof Tier>;

export const SandboxLimits = z.strictObject({
  memory: quantityFrom("1Mi").optional(),
  processes: z.int().min(1).max(100_000).optional(),
  scratch: quantityFrom("4Ki").optional(),
  output: Quantity.optional(),
  files: Quantity.optional().describe("of all result files of a call together"),
  cpu: Duration.optional(),
  calls: z
    .int()
    .min(1)
    .max(64)
    .optional()
    .describe("calls of this tool that run at once; more wait, within the run's own limit"),
});

export const ToolSpec = z
  .strictObject({
    type: ToolType.optional(),
    description: z.string().max(4096).optional(),
    tags: z.array(z.string()).optional(),
    image: z.string().max(1024).optional(),
    package: z
      .string()
      .max(4096)
      .optional()
      .describe("directory with the executable, relative to the manifest"),
    operations: z.array(Operation).max(256).optional(),
    mcp: z
      .strictObject({
        command: z.array(z.string().min(1)).min(1),
        perCall: z.boolean().optional(),
        tools: z.array(z.string()).optional(),
      })
      .optional(),
    sandbox: z
      .strictObject({
        workspace: z.enum(["none", "ro", "rw"]).optional(),
        network: z.array(NetworkRule).max(64).optional(),
        env: z.record(EnvName, z.string()).optional(),
        timeout: Duration.optional(),
        limits: SandboxLimits.optional(),
        tier: Tier.optional(),
      })
      .optional(),
    credentials: z.array(Credential).max(64).optional(),
  })
  .superRefine((spec, context) => {
    const names = (spec.operations ?? []).map((operation) => operation.name);
    for (const name of names.filter((candidate, index) => names.indexOf(candidate) !== index)) {
      context.addIssue({
        code: "custom",
        path: ["operations"],
        message: `operation "${name}" is declared twice`,
      });
    }
    if ((spec.operations === undefined || spec.operations.length === 0) && spec.mcp === undefined) {
      context.addIssue({
        code: "custom",
        path: ["operations"],
        message: "expected at least one operation",
      });
    }
  });
export type ToolSpec = z.infer<typeof ToolSpec>;

export const Tool = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("Tool"),
  metadata: Metadata,
  spec: ToolSpec,
});
export type Tool = z.infer<typeof Tool>;
