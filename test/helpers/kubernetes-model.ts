import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

/**
 * The Kubernetes model, read from the type declarations of the package `kubernetes-types` (generated from the API of 1.30): which
 * fields a kind has, and of what type. Enough to find a field that does not exist, a wrong type, and a missing required one.
 */
type Fields = Map<string, { type: string; required: boolean }>;
const models = new Map<string, Map<string, Fields>>();
const require = createRequire(import.meta.url);

function modelOf(file: string): Map<string, Fields> {
  const known = models.get(file);
  if (known !== undefined) return known;
  const path = require.resolve("kubernetes-types/package.json").replace("package.json", file);
  const text = readFileSync(path, "utf8").replaceAll(/\/\*\*[\s\S]*?\*\//g, "");
  const interfaces = new Map<string, Fields>();
  models.set(file, interfaces);
  for (const [, name = "", body = ""] of text.matchAll(
    /^export interface (\w+) \{\n([\s\S]*?)^\}/gm,
  )) {
    const fields: Fields = new Map();
    const flat = body.replaceAll(/\{\s*\[name: string\]: ([\w<>]+);\s*\}/g, "Map<$1>");
    for (const [, field = "", optional, type = ""] of flat.matchAll(
      /^\s+"?(\$?\w+)"?(\?)?: (.+);$/gm,
    ))
      fields.set(field, { type, required: optional === undefined });
    interfaces.set(name, fields);
  }
  return interfaces;
}

/** Whatever in `value` the model of `kind` does not know, a path and a sentence each; empty when all is known. */
export function modelProblems(file: string, kind: string, value: unknown, path = kind): string[] {
  const fields = modelOf(file).get(kind);
  if (fields === undefined) throw new Error(`No ${kind} in ${file}`);
  if (typeof value !== "object" || value === null) return [`${path}: expected ${kind}`];
  const given = Object.entries(value);
  return [
    ...given.flatMap(([name, inner]) => {
      const field = fields.get(name);
      if (field === undefined) return [`${path}.${name}: no such field`];
      return typeProblems(file, field.type, inner, `${path}.${name}`);
    }),
    ...[...fields].flatMap(([name, { required }]) =>
      required && !given.some(([field]) => field === name) ? [`${path}.${name}: missing`] : [],
    ),
  ];
}

function typeProblems(file: string, type: string, value: unknown, path: string): string[] {
  const list = /^Array<(.+)>$/.exec(type)?.[1];
  if (list !== undefined) {
    if (!Array.isArray(value)) return [`${path}: expected a list`];
    return value.flatMap((item, index) => typeProblems(file, list, item, `${path}[${index}]`));
  }
  const map = /^Map<(.+)>$/.exec(type)?.[1];
  if (map !== undefined) {
    if (typeof value !== "object" || value === null) return [`${path}: expected a map`];
    return Object.entries(value).flatMap(([key, item]) =>
      typeProblems(file, map, item, `${path}.${key}`),
    );
  }
  const literal = /^"(.*)"$/.exec(type)?.[1];
  if (literal !== undefined) return value === literal ? [] : [`${path}: expected ${literal}`];
  if (type === "Quantity") return isQuantity(value) ? [] : [`${path}: expected a quantity`];
  if (type === "number | string")
    return ["number", "string"].includes(typeof value)
      ? []
      : [`${path}: expected a number or text`];
  if (["string", "number", "boolean"].includes(type))
    return typeof value === type ? [] : [`${path}: expected ${type}, got ${typeof value}`];
  if (type === "ObjectMeta" || type === "LabelSelector")
    return modelProblems("meta/v1.d.ts", type, value, path);
  if (modelOf(file).has(type)) return modelProblems(file, type, value, path);
  throw new Error(`No model of ${type} at ${path}`);
}

function isQuantity(value: unknown): boolean {
  return /^[0-9]+(?:\.[0-9]+)?(?:m|k|M|G|T|Ki|Mi|Gi|Ti)?$/.test(String(value));
}
