import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";
import { networkInterfaces } from "node:os";

/** `private` addresses need a rule that says so; `forbidden` ones are never dialled. */
export type AddressKind = "public" | "private" | "forbidden";

const privateNets = new BlockList();
for (const [net, bits] of [
  ["10.0.0.0", 8],
  ["100.64.0.0", 10], // carrier-grade NAT, and many overlay networks
  ["127.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15], // benchmarking, used by local proxies
] as const) {
  privateNets.addSubnet(net, bits, "ipv4");
}
privateNets.addAddress("::1", "ipv6");
privateNets.addSubnet("fc00::", 7, "ipv6");

const forbidden = new BlockList();
for (const [net, bits] of [
  ["0.0.0.0", 8],
  ["169.254.0.0", 16], // link-local, and the metadata services of clouds
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
] as const) {
  forbidden.addSubnet(net, bits, "ipv4");
}
// Metadata services that lie in private networks.
forbidden.addAddress("100.100.100.200", "ipv4");
forbidden.addAddress("168.63.129.16", "ipv4");
forbidden.addAddress("fd00:ec2::254", "ipv6");
forbidden.addAddress("fd20:ce::254", "ipv6");
for (const [net, bits] of [
  ["2001::", 23], // Teredo and other protocol assignments
  ["2001:db8::", 32],
  ["2002::", 16], // 6to4 can name any IPv4 address
  ["3fff::", 20],
] as const) {
  forbidden.addSubnet(net, bits, "ipv6");
}
const globalUnicast = new BlockList();
globalUnicast.addSubnet("2000::", 3, "ipv6");

/** Where an address leads. IPv4 inside IPv6 (mapped, NAT64) counts as that IPv4 address; what is not an address is forbidden. */
export function kindOfAddress(address: string): AddressKind {
  if (isIPv4(address)) {
    if (forbidden.check(address, "ipv4")) return "forbidden";
    return privateNets.check(address, "ipv4") || isOwn(address) ? "private" : "public";
  }
  if (!isIPv6(address) || address.includes("%")) return "forbidden";
  const embedded = embeddedIpv4(address);
  if (embedded !== null) return kindOfAddress(embedded);
  if (forbidden.check(address, "ipv6")) return "forbidden";
  if (privateNets.check(address, "ipv6")) return "private";
  if (!globalUnicast.check(address, "ipv6")) return "forbidden";
  return isOwn(address) ? "private" : "public";
}

/** The IPv4 address in `::ffff:a.b.c.d` or `64:ff9b::a.b.c.d`, null for other IPv6 addresses. */
function embeddedIpv4(address: string): string | null {
  const plain = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const match = /^(?:::ffff:|64:ff9b::)(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,4})$/.exec(plain);
  if (match === null) return null;
  const value =
    Number.parseInt(match[1] ?? "0", 16) * 65_536 + Number.parseInt(match[2] ?? "0", 16);
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".");
}

/** A public address of this machine leads to its own services as loopback does. */
function isOwn(address: string): boolean {
  const family = isIP(address) === 4 ? "IPv4" : "IPv6";
  return Object.values(networkInterfaces()).some((list) =>
    list?.some((entry) => entry.family === family && entry.address === address),
  );
}
