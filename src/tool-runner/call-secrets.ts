import { type RedactionTable, compileRedaction, extendRedaction } from "../kit/redactor.ts";
import { PlatformError } from "../kit/platform-error.ts";
import type { SecretSource } from "../protocol/secret-source.ts";
import type { KeyRef } from "../protocol/manifest.ts";
import type { Credential } from "../protocol/tool-manifest.ts";
import type { LentSecret } from "./boundary/credential-rule.ts";
import { LiveSecret } from "./live-secret.ts";
import { openProvider, type SecretProvider } from "./secret-providers.ts";
import type { LoadedTool } from "./tools.ts";

/** Values that are masked for one secret: the newest, and those before it. */
const MASKED_VERSIONS = 32;
/** New values that open streams and later ones look for one after the other before all are compiled into one table. */
const MAX_EXTENSIONS = 8;

/** What became of a secret while the run goes on. */
export interface SecretChange {
  /** NAME/KEY */
  secret: string;
  from: SecretProvider["from"];
  /** EPOCH.N */
  version: string | null;
  problem: string | null;
}

export interface CallSecretsOptions {
  /** life of the tool-runner, for the versions' names */
  epoch?: number;
  /** by NAME/KEY: read again at every use; others keep the value they have */
  sources?: Readonly<Record<string, SecretSource>>;
  onChange?: (change: SecretChange) => void;
}

/** The values of tools' credentials, in this process only. No method renders a value into text. */
export class CallSecrets {
  readonly #secrets: Map<string, LiveSecret>;
  /** by NAME/KEY: the newest values, the last one first, to mask */
  readonly #masked = new Map<string, Buffer[]>();
  readonly #epoch: number;
  readonly #credentials: readonly Credential[];
  #table: RedactionTable | null = null;
  #extensions = 0;
  /** tables that streams may still use; they learn what comes too */
  #earlier: WeakRef<RedactionTable>[] = [];

  /** `values`: NAME/KEY to value. The buffers become ours: `wipe` overwrites them. */
  constructor(
    values: ReadonlyMap<string, Buffer>,
    tools: Iterable<LoadedTool>,
    { epoch = 1, sources = {}, onChange = () => {} }: CallSecretsOptions = {},
  ) {
    this.#epoch = epoch;
    this.#credentials = [...tools].flatMap((tool) => tool.credentials);
    this.#secrets = new Map(
      [...values].map(([id, value]) => {
        this.#masked.set(id, [value]);
        const provider = openProvider(sources[id] ?? null, value);
        const secret = new LiveSecret({
          id,
          provider,
          value,
          learn: (learned) => this.#learn(id, learned),
          onChange: ({ version, problem }) =>
            onChange({
              secret: id,
              from: provider.from,
              version: version === null ? null : `${epoch}.${version}`,
              problem,
            }),
        });
        return [id, secret] as const;
      }),
    );
    this.#compile();
  }

  /** Every form of every value, for masking; null when there is nothing to mask. A stream that uses it learns new values by itself. */
  get redaction(): RedactionTable | null {
    return this.#table;
  }

  /** Throws `PlatformError` `secret_missing` that names the tool, the reference and the ways to give it. */
  require(tools: Iterable<LoadedTool>): void {
    for (const tool of tools) {
      for (const { name, secretRef } of tool.credentials) {
        if ((this.#secrets.get(nameOf(secretRef))?.known?.length ?? 0) > 0) continue;
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

  /** Reads the value now, for one use. Throws `PlatformError` when there is none, after `wipe`, and for references nobody gave. */
  async lend(ref: KeyRef): Promise<LentSecret> {
    return await this.lendNamed(nameOf(ref));
  }

  /** The same for the name that the secret was given under. */
  async lendNamed(id: string): Promise<LentSecret> {
    const secret = this.#secrets.get(id);
    if (secret === undefined) throw gone(id);
    const lease = await secret.lend();
    return { ...lease, version: `${this.#epoch}.${lease.version}` };
  }

  /** Reads anew what the tool itself is given, so that a call begins with the present values. Throws like `lend`. */
  async refresh(tool: LoadedTool): Promise<void> {
    const given = tool.credentials.filter(({ http }) => http === undefined);
    for (const { secretRef } of given) (await this.lend(secretRef))[Symbol.dispose]();
  }

  /** The value known last, not a copy. Throws after `wipe`, for references nobody gave, and when there is none any more. */
  valueOf(ref: KeyRef): Buffer {
    const value = this.#secrets.get(nameOf(ref))?.known;
    if (value === undefined) throw gone(nameOf(ref));
    return value;
  }

  /** Overwrites every value: after this no credential can be lent. */
  wipe(): void {
    for (const secret of this.#secrets.values()) secret.wipe();
    for (const values of this.#masked.values()) for (const value of values) value.fill(0);
  }

  #learn(id: string, value: Buffer): void {
    const extension = compileRedaction([value], { extraForms: this.#formsOf(id, value) });
    const values = this.#masked.get(id) ?? [];
    values.unshift(Buffer.from(value));
    for (const forgotten of values.splice(MASKED_VERSIONS)) forgotten.fill(0);
    this.#masked.set(id, values);
    this.#earlier = this.#earlier.filter((table) => table.deref() !== undefined);
    for (const table of this.#earlier) {
      const open = table.deref();
      if (open !== undefined) extendRedaction(open, extension);
    }
    // Also when a new table takes its place: streams that began with it go on.
    if (this.#table !== null) extendRedaction(this.#table, extension);
    this.#extensions += 1;
    if (this.#table === null || this.#extensions > MAX_EXTENSIONS) this.#compile();
  }

  #compile(): void {
    const extraForms: Buffer[] = [];
    const values: Buffer[] = [];
    for (const [id, masked] of this.#masked) {
      values.push(...masked);
      for (const value of masked) extraForms.push(...this.#formsOf(id, value));
    }
    const secrets = values.filter((value) => value.length > 0);
    if (this.#table !== null) this.#earlier.push(new WeakRef(this.#table));
    this.#table = secrets.length === 0 ? null : compileRedaction(secrets, { extraForms });
    this.#extensions = 0;
  }

  /** What the value looks like inside a credential: a basic pair before base64, a header that is base64 itself. */
  #formsOf(id: string, value: Buffer): Buffer[] {
    return this.#credentials
      .filter(({ secretRef }) => nameOf(secretRef) === id)
      .flatMap(({ http }) => {
        if (http?.basic !== undefined)
          return [Buffer.concat([Buffer.from(`${http.basic.username}:`), value])];
        const rendered = (http?.format ?? "").replaceAll("{{secret}}", () =>
          value.toString("latin1"),
        );
        return /^basic /i.test(rendered) ? [Buffer.from(rendered.slice(6), "base64")] : [];
      });
  }
}

function gone(id: string): PlatformError {
  return new PlatformError("secret_missing", `Secret ${id} is not there (any more)`);
}

function nameOf({ name, key }: KeyRef): string {
  return `${name}/${key}`;
}
