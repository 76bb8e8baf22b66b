import { isIP, isIPv4, isIPv6 } from "node:net";
import { Ajv, type ErrorObject, type Options } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import { messageOf } from "../kit/platform-error.ts";
import { runBounded } from "./bounded-work.ts";
import { CheckBudget } from "./check-budget.ts";

/** Checks a value; returns what is wrong with it in words for the caller, nothing when it fits. Never changes the value. */
export type SchemaCheck = (value: unknown) => string[];

/** A compilation that takes longer than this is stopped. */
const COMPILE_MS = 2000;
/** Only with these can a check take longer than the schema's and the value's sizes multiplied: backtracking, copies of copies, pairs. */
const COSTLY = /"(?:pattern|patternProperties|\$ref|\$dynamicRef|\$recursiveRef|uniqueItems)"/;
/** Above this, sizes multiplied are much by themselves. */
const SMALL_SCHEMA = 4096;

const HOST =
  /^(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}))*$/;
const DATE = /^\d{4}-\d\d-\d\d$/;
const TIME =
  /^(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;
/** What RFC 3986 has no place for: URL takes spaces and control characters, and drops them. */
const NOT_IN_URI = /[^\w\-.~:/?#[\]@!$&'()*+,;=%]|%(?![0-9a-f]{2})/i;
const formats: Record<string, (text: string) => boolean> = {
  "date-time": (text) =>
    isDate(text.slice(0, 10)) && /^[Tt]$/.test(text.charAt(10)) && TIME.test(text.slice(11)),
  date: isDate,
  email: (text) => text.length <= 320 && /^[^\s@]+@[^\s@]+$/.test(text),
  hostname: (text) => HOST.test(text) && isIP(text) === 0,
  ipv4: isIPv4,
  ipv6: isIPv6,
  uri: (text) => !NOT_IN_URI.test(text) && URL.canParse(text),
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
 * formats that are not known are let pass, for a schema that somebody else wrote. `budget`: for schemas of one source, who may
 * together take so much time. Throws an `Error` that says what is wrong.
 */
export function compileSchema(
  schema: Record<string, unknown>,
  { strict = true, budget = new CheckBudget() }: { strict?: boolean; budget?: CheckBudget } = {},
): SchemaCheck {
  const dialect = schema["$schema"];
  // Ajv's own: such a check would answer with a promise, which is no answer.
  if ("$async" in schema) throw new Error('"$async" is not a keyword of JSON Schema');
  const Dialect = typeof dialect === "string" && /draft-0[67]/.test(dialect) ? Ajv : Ajv2020;
  let validate: ReturnType<Ajv["compile"]>;
  try {
    // One instance a schema: a shared one would let one tool's $id resolve in another's $ref. And one each time that it is tried.
    validate = runBounded(() => new Dialect({ ...options, strict }).compile(schema), COMPILE_MS);
  } catch (error) {
    throw new Error(explainCompileError(messageOf(error)), { cause: error });
  }
  const text = JSON.stringify(schema);
  const isCostly = text.length > SMALL_SCHEMA || COSTLY.test(text);
  return (value) => {
    try {
      const fits = isCostly ? budget.run(() => validate(value)) : validate(value);
      return fits ? [] : (validate.errors ?? []).map(explain);
    } catch (error) {
      return [messageOf(error)];
    }
  };
}

/** A day that the calendar has: `Date` takes February 31st for a day in March. */
function isDate(text: string): boolean {
  if (!DATE.test(text)) return false;
  const date = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text);
}

function explainCompileError(message: string): string {
  if (message.includes("can't resolve reference"))
    return `${message}; only references inside the schema ("#/$defs/…") are followed`;
  if (message.includes("took longer")) return `compiling the schema ${message}`;
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
