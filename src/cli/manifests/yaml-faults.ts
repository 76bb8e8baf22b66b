import type { ErrorCode, YAMLParseError } from "yaml";

/** What a person did who gets this error; other codes speak for themselves. */
const SENTENCES: Partial<Record<ErrorCode, string>> = {
  BAD_INDENT:
    "this line is indented otherwise than the lines it belongs to, or a bracket or quote before it is not closed",
  BLOCK_AS_IMPLICIT_KEY:
    "a field has a value and fields below it; look at the indentation of this line and the next",
  MULTILINE_IMPLICIT_KEY:
    "a field's name goes over several lines; look at the indentation, and for a missing colon",
  TAB_AS_INDENT: "a tab indents this line; YAML takes spaces only",
  DUPLICATE_KEY: "this field stands here twice",
  MISSING_CHAR: "a quote, bracket, brace or comma is missing",
};

/** One sentence about text that is not YAML. It quotes nothing: the text may hold secrets. */
export function yamlFault({ code }: YAMLParseError): string {
  return `not YAML: ${SENTENCES[code] ?? code.toLowerCase().replaceAll("_", " ")}`;
}
