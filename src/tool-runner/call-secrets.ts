import { type RedactionTable, compileRedaction } from "../kit/redactor.ts";
import { PlatformError } from "../kit/platform-error.ts";
import type { KeyRef } from "../protocol/manifest.ts";
import type { Credential } from "../protocol/tool-manifest.ts";
import type { LoadedTool } from "./tools.ts";

/** The values of tools' credentials, in this process only. No method renders a value into text. */
export class CallSecrets {
  readonly #values: Map<string, Buffer>;
  /** Every form of every value, for masking; null when there is nothing to mask. */
  readonly redaction: RedactionTable | null;

  /** `values`: NAME/KEY to value. The buffers become ours: `wipe` overwrites them. `also`: values to mask, not to lend. */
  constructor(
    values: ReadonlyMap<string, Buffer>,
    tools: Iterable<LoadedTool>,
    also: readonly Buffer[] = [],
  ) {
    this.#values = new Map(values);
    const secrets = [...this.#values.values(), ...also].filter((value) => value.length > 0);
    const extraForms = [...tools].flatMap((tool) =>
      tool.credentials.flatMap((credential) => this.#basicForm(credential)),
    );
    this.redaction = secrets.length === 0 ? null : compileRedaction(secrets, { extraForms });
  }

  /** Throws `PlatformError` `secret_missing` that names the tool, the reference and the ways to give it. */
  require(tools: Iterable<LoadedTool>): void {
    for (const tool of tools) {
      for (const { name, secretRef } of tool.credentials) {
        if ((this.#values.get(nameOf(secretRef))?.length ?? 0) > 0) continue;
        throw new PlatformError(
          "secret_missing",
          `Credential "${name}" of tool "${tool.name}" needs the secret ${nameOf(secretRef)}, and there is none`,
          {
            fix: `give it with --secret ${nameOf(secretRef)}=@FILE, =env:VAR or =exec:COMMAND, or in a Secret document`,
          },
        );
      }
    }
  }

  /** The value itself, not a copy. Throws after `wipe` and for references nobody gave. */
  valueOf(ref: KeyRef): Buffer {
    const value = this.#values.get(nameOf(ref));
    if (value === undefined)
      throw new PlatformError("secret_missing", `Secret ${nameOf(ref)} is not there (any more)`);
    return value;
  }

  /** Overwrites every value: after this no credential can be lent. */
  wipe(): void {
    for (const value of this.#values.values()) value.fill(0);
    this.#values.clear();
  }

  /** What a basic credential looks like on the wire, before base64. */
  #basicForm({ http, secretRef }: Credential): Buffer[] {
    const value = this.#values.get(nameOf(secretRef));
    if (http?.basic === undefined || value === undefined) return [];
    return [Buffer.concat([Buffer.from(`${http.basic.username}:`), value])];
  }
}

function nameOf({ name, key }: KeyRef): string {
  return `${name}/${key}`;
}
