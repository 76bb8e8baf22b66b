import * as z from "zod";

/** The fields that a schema knows at a path of a document; none where it takes any. */
export function knownFields(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  const [step, ...rest] = path;
  const here = unwrapped(schema);
  if (here instanceof z.ZodUnion)
    return here.options.flatMap((option) => knownFields(option as z.ZodType, path));
  if (here instanceof z.ZodArray)
    return step === undefined ? [] : knownFields(here.element as z.ZodType, rest);
  if (here instanceof z.ZodRecord)
    return step === undefined ? [] : knownFields(here.valueType as z.ZodType, rest);
  if (!(here instanceof z.ZodObject)) return [];
  const shape = here.shape as Record<PropertyKey, z.ZodType>;
  if (step === undefined) return Object.keys(shape);
  const field = shape[step];
  return field === undefined ? [] : knownFields(field, rest);
}

function unwrapped(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable)
    return unwrapped(schema.unwrap() as z.ZodType);
  if (schema instanceof z.ZodDefault) return unwrapped(schema.unwrap() as z.ZodType);
  if (schema instanceof z.ZodPipe) return unwrapped(schema.in as z.ZodType);
  return schema;
}
