import { isIP, isIPv4, isIPv6 } from "node:net";
import vm from "node:vm";
import { Ajv, type ErrorObject, type Options } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import { messageOf } from "../kit/platform-error.ts";

/** Checks a value; returns what is wrong with it in words for the caller, nothing when it fits. Never changes the value. */
export type SchemaCheck = (value: unknown) => string[];

/** A pattern of a manifest that takes longer than this on an argument is stopped, and the argument refused. */
const PATTERN_TIMEOUT_MS = 250;

const HOST =
  /^(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}))*$/;
const formats: Record<string, (text: string) => boolean> = {
  "date-time": (text) =>
    /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d/.test(text) && !Number.isNaN(Date.parse(text)),
  date: (text) => /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(Date.parse(text)),
  email: (text) => text.length <= 320 && /^[^\s@]+@[^\s@]+$/.test(text),
  hostname: (text) => HOST.test(text) && isIP(text) === 0,
  ipv4: isIPv4,
  ipv6: isIPv6,
  uri: (text) => URL.canParse(text),
  uuid: (text) => /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text),
};

const options: Options = {
  strict: true,
  strictTypes: false,
  strictTuples: false,
  strictRequired: false,
  coerceTypes: false,
  useDefaults: false,
  removeAdditional: false,
  allErrors: false,
  validateFormats: true,
  formats,
  logger: false,
  ownProperties: true,
};

/**
 * Compiles a JSON Schema (2020-12, or draft-07 when it says so). `strict` false: keywords and
 * formats that are not known are let pass, for a schema that somebody else wrote. Throws an `Error` that says what is wrong.
 */
export function compileSchema(
  schema: Record<string, unknown>,
  { strict = true }: { strict?: boolean } = {},
): SchemaCheck {
  const dialect = schema["$schema"];
  // One instance a schema: a shared one would let one tool's $id resolve in another's $ref.
  const ajv =
    typeof dialect === "string" && /draft-0[67]/.test(dialect)
      ? new Ajv({ ...options, strict })
      : new Ajv2020({ ...options, strict });
  let validate: ReturnType<Ajv["compile"]>;
  try {
    validate = ajv.compile(schema);
  } catch (error) {
    throw new Error(explainCompileError(messageOf(error)), { cause: error });
  }
  const run = JSON.stringify(schema).includes('"pattern')
    ? (value: unknown): boolean => withTimeout(() => validate(value))
    : (value: unknown): boolean => validate(value);
  return (value) => {
    try {
      return run(value) ? [] : (validate.errors ?? []).map(explain);
    } catch {
      return [`a pattern of the schema took longer than ${PATTERN_TIMEOUT_MS} ms on this value`];
    }
  };
}

const guarded: { work: () => boolean } = { work: () => false };
const guardedContext = vm.createContext(guarded);

/** Runs `work` so that even a backtracking regular expression is interrupted: only a vm timeout can do that. */
function withTimeout(work: () => boolean): boolean {
  guarded.work = work;
  return vm.runInContext("work()", guardedContext, { timeout: PATTERN_TIMEOUT_MS }) === true;
}

function explainCompileError(message: string): string {
  if (message.includes("can't resolve reference"))
    return `${message}; only references inside the schema ("#/$defs/…") are followed`;
  if (message.includes("unknown format"))
    return `${message}; known formats: ${Object.keys(formats).join(", ")}`;
  return message;
}

function explain(error: ErrorObject): string {
  const where = error.instancePath === "" ? "the arguments" : `"${error.instancePath.slice(1)}"`;
  const { params } = error as { params: Record<string, unknown> };
  if (error.keyword === "additionalProperties" || error.keyword === "unevaluatedProperties") {
    const name = params["additionalProperty"] ?? params["unevaluatedProperty"];
    return `${where}: unknown argument ${JSON.stringify(String(name).slice(0, 200))}`;
  }
  if (error.keyword === "enum" && Array.isArray(params["allowedValues"]))
    return `${where}: expected one of ${JSON.stringify(params["allowedValues"]).slice(0, 500)}`;
  return `${where}: ${(error.message ?? "does not fit the schema").slice(0, 500)}`;
}
