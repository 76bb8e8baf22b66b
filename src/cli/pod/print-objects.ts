import { Document, Scalar, visit } from "yaml";
import type { PodObject } from "./pod-objects.ts";

/**
 * What YAML 1.1, which kubectl reads, takes for a line break where YAML 1.2 does not (U+0085, U+2028, U+2029), and what it does not
 * take at all: control characters, byte order marks, noncharacters and halves of pairs.
 */
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const UNSAFE = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]|\p{Cs}/u;
const EVERY_UNSAFE = new RegExp(UNSAFE, "gu");

/** JSON of which every character stands for itself in YAML 1.1 too: the others are escaped, and mean the same. */
export function plainJson(value: unknown): string {
  return escaped(JSON.stringify(value, undefined, 2));
}

/** The objects as YAML documents that readers of 1.1 and 1.2 take for the same thing, whatever the strings in them are. */
export function printObjects(objects: readonly PodObject[]): string {
  return objects.map((object) => `---\n${printed(object)}`).join("");
}

function printed(object: PodObject): string {
  // Words of 1.1 such as `on` or `1_0` are quoted, names of labels too.
  const document = new Document(object, { compat: "yaml-1.1", aliasDuplicateObjects: false });
  visit(document, {
    Scalar: (_, scalar) => {
      if (typeof scalar.value === "string" && UNSAFE.test(scalar.value))
        scalar.type = Scalar.QUOTE_DOUBLE;
    },
  });
  // Whatever is unsafe stands between double quotes by now, where its escape means it.
  return escaped(document.toString({ lineWidth: 0, doubleQuotedAsJSON: true }));
}

function escaped(text: string): string {
  return text.replace(
    EVERY_UNSAFE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
