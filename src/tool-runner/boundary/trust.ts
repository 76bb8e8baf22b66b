import { readFileSync } from "node:fs";
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
let roots: string | undefined;
let bundle: string | undefined;

/** What upstream connections trust: Node's and the system's authorities, and the one a rule adds. TLS 1.2 at least. */
export function upstreamContext(extraCa = ""): tls.SecureContext {
  const known = contexts.get(extraCa);
  if (known !== undefined) return known;
  // One text: as a list the same certificates take twice as long to read. `tls.getCACertificates("system")` takes 70 ms.
  roots ??= `${tls.getCACertificates("default").join("\n")}\n${systemBundle()}`;
  const context = tls.createSecureContext({ ca: roots + extraCa, minVersion: "TLSv1.2" });
  const oldest = contexts.keys().next();
  if (contexts.size >= MAX_CONTEXTS && oldest.done !== true) contexts.delete(oldest.value);
  contexts.set(extraCa, context);
  return context;
}

/** The machine's trust bundle as PEM text, read once; Node's own when the machine has none. */
export function systemBundle(): string {
  bundle ??= `${SYSTEM_BUNDLES.map(readBundle).find((text) => text !== "") ?? tls.rootCertificates.join("\n")}\n`;
  return bundle;
}

function readBundle(path: string): string {
  try {
    const text = readFileSync(path, "utf8");
    return text.includes("-----BEGIN CERTIFICATE-----") ? text : "";
  } catch {
    return "";
  }
}
