/**
 * The one spelling of a JSON value that is hashed and signed: fields in the order of their UTF-16 units, no spaces, `undefined`
 * fields left out. Throws `TypeError` for what two programs could write differently: fractions, integers beyond 2^53, NaN.
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === "boolean" || typeof value === "string")
    return JSON.stringify(value);
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) throw new TypeError("Expected a whole number below 2^53");
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item)).join(",")}]`;
  if (typeof value !== "object") throw new TypeError(`Expected a JSON value, got ${typeof value}`);
  // Every audit record is written so several times, by two programs: no lists of lists for it.
  const fields = value as Readonly<Record<string, unknown>>;
  let text = "";
  for (const name of Object.keys(fields).toSorted()) {
    const field = fields[name];
    if (field === undefined) continue;
    text += `${text === "" ? "" : ","}${JSON.stringify(name)}:${canonicalJson(field)}`;
  }
  return `{${text}}`;
}
