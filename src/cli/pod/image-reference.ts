import { PlatformError } from "../../kit/platform-error.ts";

/** The grammar that container engines and registries share (distribution's `reference`), as one would write it in a manifest. */
const LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?";
const DOMAIN = `(?:${LABEL}(?:\\.${LABEL})*|\\[[A-Fa-f0-9:]+\\])(?::[0-9]+)?`;
const PART = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
const PATH = `${PART}(?:/${PART})*`;
const NAME = `(?:${DOMAIN}/)?${PATH}`;
const TAG = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}";
const DIGEST = "sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}";
const REFERENCE = new RegExp(`^(${NAME})(?::${TAG})?(?:@(?:${DIGEST}))?$`);
/** What stands before the last part of a name. */
const PREFIX = new RegExp(`^(?:${DOMAIN}|(?:${DOMAIN}/)?${PATH})$`);
/** As engines bound it. */
const MAX_NAME = 255;

/** The reference, as it is. Throws `invalid_image` that says `where` it was read. */
export function imageReference(text: string, where: string): string {
  const name = REFERENCE.exec(text)?.[1];
  if (name !== undefined && name.length <= MAX_NAME) return text;
  throw refused("an image reference", text, where, "registry.example.com/team/image:1.2");
}

/** A registry and what of a name stands before the image's own, without the slash at its end. Throws `invalid_image`. */
export function imagePrefix(text: string, where: string): string {
  const prefix = text.replace(/\/$/, "");
  if (PREFIX.test(prefix) && prefix.length < MAX_NAME) return prefix;
  throw refused("a registry, with a path or without", text, where, "registry.example.com/team");
}

function refused(what: string, text: string, where: string, example: string): PlatformError {
  const hasScheme = /^[a-z+-]+:\/\//i.test(text);
  return new PlatformError(
    "invalid_image",
    `Expected ${what} in ${where}, got ${JSON.stringify(text.slice(0, 80))}`,
    {
      path: where,
      fix: `write for example ${example}${hasScheme ? ", without a scheme" : "; names are lowercase"}`,
    },
  );
}
