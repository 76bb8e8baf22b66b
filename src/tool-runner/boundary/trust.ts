import { readFile } from "node:fs/promises";
import tls from "node:tls";

/** Where Linux distributions keep the bundle of trusted authorities. */
const SYSTEM_BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];
/** Contexts with an authority of their own that are kept; each holds all roots. */
const MAX_CONTEXTS = 32;

const contexts = new Map<string, tls.SecureContext>();
let roots: string[] | undefined;

/** What upstream connections trust: Node's and the system's authorities, and the one a rule adds. TLS 1.2 at least. */
export function upstreamContext(extraCa?: string): tls.SecureContext {
  const key = extraCa ?? "";
  const known = contexts.get(key);
  if (known !== undefined) return known;
  roots ??= [...new Set([...tls.getCACertificates("default"), ...tls.getCACertificates("system")])];
  const ca = extraCa === undefined ? roots : [...roots, extraCa];
  const context = tls.createSecureContext({ ca, minVersion: "TLSv1.2" });
  const oldest = contexts.keys().next();
  if (contexts.size >= MAX_CONTEXTS && oldest.done !== true) contexts.delete(oldest.value);
  contexts.set(key, context);
  return context;
}

/** The machine's trust bundle as PEM text, or Node's own when the machine has none. */
export async function systemBundle(): Promise<string> {
  for (const path of SYSTEM_BUNDLES) {
    const text = await readFile(path, "utf8").catch(() => "");
    if (text.includes("-----BEGIN CERTIFICATE-----"))
      return text.endsWith("\n") ? text : `${text}\n`;
  }
  return `${tls.rootCertificates.join("\n")}\n`;
}
