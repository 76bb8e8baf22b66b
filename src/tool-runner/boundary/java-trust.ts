import { createHash } from "node:crypto";

/** What every reader of such files takes for the password; it protects nothing but against damage. */
export const JAVA_TRUST_PASSWORD = "changeit";
const MAGIC = 0xfeedfeed;
const VERSION = 2;
const TRUSTED_CERTIFICATE = 2;

/** A Java key store (JKS) that trusts one certificate, given as PEM. */
export function javaTrustStore(pem: string): Buffer {
  const certificate = Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ""), "base64");
  const content = Buffer.concat([
    u32(MAGIC),
    u32(VERSION),
    u32(1),
    u32(TRUSTED_CERTIFICATE),
    text("agentkube-run"),
    Buffer.alloc(8), // when it was made: the same for the same certificate
    text("X.509"),
    u32(certificate.length),
    certificate,
  ]);
  const password = Buffer.from(JAVA_TRUST_PASSWORD, "utf16le").swap16();
  // The words are the format's own.
  const digest = createHash("sha1").update(password).update("Mighty Aphrodite").update(content);
  return Buffer.concat([content, digest.digest()]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function text(value: string): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(value.length);
  return Buffer.concat([length, Buffer.from(value)]);
}
