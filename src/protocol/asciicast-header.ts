import * as z from "zod";

/** Terminals are at most this wide and high: asciinema's own reader counts in 16 bits. */
export const Cells = z
  .int()
  .min(1, "expected a size of at least 1")
  .max(65_535, "expected a size of at most 65535");
const Text = z.string().refine((text) => text.isWellFormed(), "holds half of a surrogate pair");
const Color = z.string().regex(/^#[0-9a-fA-F]{6}$/, "expected a colour such as #1a2b3c");
const Palette = z
  .string()
  .regex(/^#[0-9a-fA-F]{6}(?::#[0-9a-fA-F]{6})*$/, "expected colours joined by colons")
  .refine((text) => [8, 16].includes(text.split(":").length), "expected 8 or 16 colours");
const Theme = z
  .looseObject({ fg: Color.optional(), bg: Color.optional(), palette: Palette.optional() })
  .refine(
    ({ fg, bg, palette, ...others }) =>
      [fg, bg, palette].every((part) => part !== undefined) ||
      ([fg, bg, palette].every((part) => part === undefined) && Object.keys(others).length === 0),
    "expected fg, bg and palette",
  );
/** What headers of every version may say. */
export const CastFacts = {
  title: Text.nullish(),
  command: Text.nullish(),
  env: z.record(Text, Text.nullable()).nullish(),
};
const Facts = {
  ...CastFacts,
  timestamp: z.int().nonnegative().nullish(),
  idle_time_limit: z.number().nonnegative().nullish(),
};
const HeaderV2 = z.looseObject({
  version: z.literal(2),
  width: Cells,
  height: Cells,
  theme: Theme.nullish(),
  duration: z.number().nonnegative().nullish(),
  ...Facts,
});
const HeaderV3 = z.looseObject({
  version: z.literal(3),
  term: z.looseObject({
    cols: Cells,
    rows: Cells,
    type: Text.nullish(),
    version: Text.nullish(),
    theme: Theme.nullish(),
  }),
  tags: z.array(Text).nullish(),
  ...Facts,
});
/** The first line of a recording of v2 or v3; other fields are kept as they are. */
export const HeaderLine = z.discriminatedUnion("version", [HeaderV2, HeaderV3]);
