import { createHash } from "node:crypto";
import tls from "node:tls";
import type { Log } from "../../kit/log.ts";
import { compileRedaction, type RedactionTable } from "../../kit/redactor.ts";
import type { RunId } from "../../protocol/ids.ts";
import type { Credential } from "../../protocol/tool-manifest.ts";
import { CallBoundary } from "./call-boundary.ts";
import type { CallGrant } from "./call-grant.ts";
import { TlsSessions } from "./call-upstreams.ts";
import { CertificateAuthority } from "./certificate-authority.ts";
import { CALL_LIMITS, type CallLimits } from "./limits.ts";
import { JAVA_TRUST_PASSWORD, javaTrustStore } from "./java-trust.ts";
import type { OnRequest } from "./request-record.ts";
import { systemBundle } from "./trust.ts";

export type { CallGrant } from "./call-grant.ts";
export type { BoundaryRequest } from "./request-record.ts";

export interface BoundaryOptions {
  run: RunId;
  log: Log;
  onRequest: OnRequest;
  /** every host of the run's tools: the certificate authority can then speak for no other name */
  hosts?: string[];
  limits?: Partial<CallLimits>;
}

/** Where the sandbox's init listens for the tool. */
const PROXY_URL = "http://127.0.0.1:3128";
const BUNDLE_PATH = "/etc/ssl/certs/ca-certificates.crt";
const OWN_CA_PATH = "/etc/ssl/certs/agentkube-run-ca.pem";
const JAVA_STORE_PATH = "/etc/ssl/certs/agentkube-run-ca.jks";
const JAVA_OPTIONS = [
  "-Dhttp.proxyHost=127.0.0.1",
  "-Dhttp.proxyPort=3128",
  "-Dhttps.proxyHost=127.0.0.1",
  "-Dhttps.proxyPort=3128",
  "-Dhttp.nonProxyHosts=",
  `-Djavax.net.ssl.trustStore=${JAVA_STORE_PATH}`,
  "-Djavax.net.ssl.trustStoreType=JKS",
  `-Djavax.net.ssl.trustStorePassword=${JAVA_TRUST_PASSWORD}`,
].join(" ");
/** Certificates and tables that are kept for later calls. */
const MAX_CACHED = 128;
/** A leaf certificate is minted anew after this; it is valid for a week. */
const LEAF_MS = 24 * 3_600_000;

/** The credential boundary of one run: the certificate authority its sandboxes trust, and a proxy for each live call. */
export class Boundary {
  #authority: CertificateAuthority | undefined;
  readonly #options: BoundaryOptions;
  readonly #contexts = new Map<string, { context: tls.SecureContext; at: number }>();
  readonly #sessions = new TlsSessions();
  #files: { path: string; data: Buffer; mode: number }[] | undefined;
  readonly #tables = new Map<string, RedactionTable>();

  constructor(options: BoundaryOptions) {
    this.#options = options;
  }

  /** The certificate of the run's authority, which is made when it is first asked for. */
  get caPem(): string {
    return this.#ownAuthority().certPem;
  }

  /**
   * Serves HTTP and HTTPS proxying for one call on a listening descriptor of its network namespace, which it then owns.
   * Disposing it is the revocation: listener and connections are gone, and every request was reported.
   */
  async openCall(grant: CallGrant, listener: number | { port: number }): Promise<CallBoundary> {
    const call = new CallBoundary(grant, {
      log: this.#options.log.child({ call: grant.call, tool: grant.tool }),
      onRequest: this.#options.onRequest,
      limits: { ...CALL_LIMITS, ...this.#options.limits },
      contextFor: (host) => this.#contextFor(host),
      tableFor: (secrets, extraForms) => this.#tableFor(secrets, extraForms),
      sessions: this.#sessions,
    });
    await call.listen(listener);
    return call;
  }

  /**
   * The variables by which ordinary programs find the proxy and trust its certificates, and for each `http` credential its host as a
   * base URL for programs written for us. They carry no authority.
   */
  sandboxEnv(credentials: readonly Credential[] = []): Record<string, string> {
    return {
      ...Object.fromEntries(credentials.flatMap(baseUrlOf)),
      HTTP_PROXY: PROXY_URL,
      HTTPS_PROXY: PROXY_URL,
      ALL_PROXY: PROXY_URL,
      http_proxy: PROXY_URL,
      https_proxy: PROXY_URL,
      all_proxy: PROXY_URL,
      NO_PROXY: "",
      no_proxy: "",
      NODE_USE_ENV_PROXY: "1",
      SSL_CERT_FILE: BUNDLE_PATH,
      CURL_CA_BUNDLE: BUNDLE_PATH,
      GIT_SSL_CAINFO: BUNDLE_PATH,
      REQUESTS_CA_BUNDLE: BUNDLE_PATH,
      PIP_CERT: BUNDLE_PATH,
      AWS_CA_BUNDLE: BUNDLE_PATH,
      CARGO_HTTP_CAINFO: BUNDLE_PATH,
      CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE: BUNDLE_PATH,
      NIX_SSL_CERT_FILE: BUNDLE_PATH,
      JAVA_TOOL_OPTIONS: JAVA_OPTIONS,
      // These two are added to what the program trusts already, so the one certificate is enough.
      NODE_EXTRA_CA_CERTS: OWN_CA_PATH,
      DENO_CERT: OWN_CA_PATH,
    };
  }

  /** The files those variables name. The same buffers each time: sandboxes prepared ahead go by them. */
  sandboxFiles(): { path: string; data: Buffer; mode: number }[] {
    this.#files ??= [
      { path: BUNDLE_PATH, data: Buffer.from(systemBundle() + this.caPem), mode: 0o444 },
      { path: OWN_CA_PATH, data: Buffer.from(this.caPem), mode: 0o444 },
      { path: JAVA_STORE_PATH, data: javaTrustStore(this.caPem), mode: 0o444 },
    ];
    return this.#files;
  }

  /** Its key never leaves this object. */
  #ownAuthority(): CertificateAuthority {
    const { run, hosts } = this.#options;
    this.#authority ??= new CertificateAuthority({
      name: `agentkube ${run.slice(0, 40)}`,
      ...(hosts === undefined ? {} : { hosts }),
    });
    return this.#authority;
  }

  #contextFor(host: string): tls.SecureContext {
    const known = this.#contexts.get(host);
    // Either way: a clock that was set back would make the certificate one of the future.
    if (known !== undefined && Math.abs(Date.now() - known.at) < LEAF_MS) return known.context;
    const { certPem, keyPem } = this.#ownAuthority().issue(host);
    const context = tls.createSecureContext({ cert: certPem, key: keyPem, minVersion: "TLSv1.2" });
    keepBounded(this.#contexts, host, { context, at: Date.now() });
    return context;
  }

  #tableFor(secrets: Buffer[], extraForms: Buffer[]): RedactionTable {
    const hash = createHash("sha256");
    for (const part of [...secrets, Buffer.alloc(0), ...extraForms]) {
      hash.update(`${part.length}:`).update(part);
    }
    const key = hash.digest("hex");
    const table = this.#tables.get(key) ?? compileRedaction(secrets, { extraForms });
    keepBounded(this.#tables, key, table);
    return table;
  }
}

/** `http://` to the proxy is TLS upstream: such a program needs no certificate of ours. */
function baseUrlOf({ name, http }: Credential): [string, string][] {
  const [host] = http?.hosts ?? [];
  if (host === undefined) return [];
  const variable = `AGENTKUBE_HTTP_${name.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_")}`;
  return [[variable, `http://${host.replace(/:443$/, "")}`]];
}

function keepBounded<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  const oldest = map.keys().next();
  if (map.size >= MAX_CACHED && oldest.done !== true) map.delete(oldest.value);
  map.set(key, value);
}
