import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";
import {
  bitString,
  context,
  integer,
  objectId,
  octetString,
  pem,
  sequence,
  setOf,
  time,
  TRUE,
  utf8String,
} from "./der.ts";

const HOUR = 3_600_000;
const CA_DAYS = 90;
const LEAF_DAYS = 7;
const ECDSA_SHA256 = sequence(objectId("1.2.840.10045.4.3.2"));

export interface IssuedCertificate {
  certPem: string;
  keyPem: string;
}

export interface AuthorityOptions {
  name: string;
  /** the only DNS names (and names below them) it can speak for; undefined for no constraint */
  hosts?: readonly string[];
}

/** A P-256 certificate authority whose key exists in this object only. One key pair serves all its leaf certificates. */
export class CertificateAuthority {
  readonly certPem: string;
  readonly #name: Buffer;
  readonly #key: KeyObject;
  readonly #keyId: Buffer;
  readonly #leaf = newKeyPair();
  readonly #leafKeyPem = this.#leaf.privateKey.export({ type: "pkcs8", format: "pem" }).toString();

  constructor(options: AuthorityOptions) {
    const pair = newKeyPair();
    this.#key = pair.privateKey;
    this.#keyId = keyIdOf(pair.publicKey);
    // A random part in the name: two runs never have authorities of one name and different keys.
    this.#name = commonName(`${options.name} ${randomBytes(4).toString("hex")}`);
    const extensions = [
      extension("2.5.29.19", sequence(TRUE, integer(Buffer.from([0]))), true),
      extension("2.5.29.15", bitString(Buffer.from([0x06]), 1), true),
      extension("2.5.29.14", octetString(this.#keyId), false),
    ];
    if (options.hosts !== undefined) extensions.push(nameConstraints(options.hosts));
    this.certPem = this.#sign(this.#name, pair.publicKey, CA_DAYS, extensions);
  }

  /** A server certificate for exactly this name or address. */
  issue(host: string, validity: { notBefore?: Date; notAfter?: Date } = {}): IssuedCertificate {
    const address = isIP(host) === 0 ? null : addressBytes(host);
    const name =
      address === null ? context(2, false, Buffer.from(host)) : context(7, false, address);
    const extensions = [
      extension("2.5.29.19", sequence(), true),
      extension("2.5.29.15", bitString(Buffer.from([0x80]), 7), true),
      extension("2.5.29.37", sequence(objectId("1.3.6.1.5.5.7.3.1")), false),
      extension("2.5.29.35", sequence(context(0, false, this.#keyId)), false),
      extension("2.5.29.17", sequence(name), false),
    ];
    // A common name has at most 64 characters; the alternative name is what clients compare.
    const subject = commonName(host.slice(0, 64));
    const certPem = this.#sign(subject, this.#leaf.publicKey, LEAF_DAYS, extensions, validity);
    return { certPem, keyPem: this.#leafKeyPem };
  }

  #sign(
    subject: Buffer,
    key: KeyObject,
    days: number,
    extensions: Buffer[],
    validity: { notBefore?: Date; notAfter?: Date } = {},
  ): string {
    const notBefore = validity.notBefore ?? new Date(Date.now() - HOUR);
    const notAfter = validity.notAfter ?? new Date(Date.now() + days * 24 * HOUR);
    const toBeSigned = sequence(
      context(0, true, integer(Buffer.from([2]))),
      integer(Buffer.concat([Buffer.from([0x01]), randomBytes(15)])),
      ECDSA_SHA256,
      this.#name,
      sequence(time(notBefore), time(notAfter)),
      subject,
      key.export({ type: "spki", format: "der" }),
      context(3, true, sequence(...extensions)),
    );
    const signature = sign("sha256", toBeSigned, this.#key);
    return pem("CERTIFICATE", sequence(toBeSigned, ECDSA_SHA256, bitString(signature)));
  }
}

function newKeyPair() {
  return generateKeyPairSync("ec", { namedCurve: "P-256" });
}

function keyIdOf(key: KeyObject): Buffer {
  return createHash("sha1")
    .update(key.export({ type: "spki", format: "der" }))
    .digest();
}

function commonName(text: string): Buffer {
  return sequence(setOf(sequence(objectId("2.5.4.3"), utf8String(text))));
}

function extension(id: string, value: Buffer, critical: boolean): Buffer {
  return sequence(objectId(id), ...(critical ? [TRUE] : []), octetString(value));
}

/** Only these names; no IP address at all. Without names, one that nobody can own. */
function nameConstraints(hosts: readonly string[]): Buffer {
  const names = hosts.length === 0 ? ["none.invalid"] : [...new Set(hosts)];
  const permitted = names.map((host) => sequence(context(2, false, Buffer.from(host))));
  const excluded = [8, 32].map((length) => sequence(context(7, false, Buffer.alloc(length))));
  const value = sequence(context(0, true, ...permitted), context(1, true, ...excluded));
  return extension("2.5.29.30", value, true);
}

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split(".").map(Number));
  const [head = "", tail = ""] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const groups = (text: string) => (text === "" ? [] : text.split(":"));
  const missing = 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array.from({ length: missing }, () => "0"), ...groups(tail)];
  return Buffer.from(all.map((group) => group.padStart(4, "0")).join(""), "hex");
}
