import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { suite, test } from "node:test";
import tls from "node:tls";
import { messageOf } from "../../../src/kit/platform-error.ts";
import { silentLog } from "../../../src/kit/log.ts";
import {
  parseAbsoluteTarget,
  parseAuthority,
} from "../../../src/tool-runner/boundary/authority.ts";
import { Boundary } from "../../../src/tool-runner/boundary/boundary.ts";
import { isPlainAllowed } from "../../../src/tool-runner/boundary/allow-list.ts";
import { CertificateAuthority } from "../../../src/tool-runner/boundary/certificate-authority.ts";
import { isPathMatch } from "../../../src/tool-runner/boundary/credential-rule.ts";
import { vettedAddresses } from "../../../src/tool-runner/boundary/dial.ts";
import { planRequest } from "../../../src/tool-runner/boundary/plan-request.ts";
import { kindOfAddress } from "../../../src/tool-runner/boundary/public-address.ts";

suite("an authority", () => {
  test("has one spelling", () => {
    assert.deepEqual(parseAuthority("api.github.com:443"), { host: "api.github.com", port: 443 });
    assert.deepEqual(parseAuthority("a", { defaultPort: 443 }), { host: "a", port: 443 });
    assert.deepEqual(parseAuthority("[::1]:80", { addresses: true }), { host: "::1", port: 80 });
    for (const text of [
      "a",
      "a:",
      "a:0",
      "a:00443",
      "a:65536",
      "A:443",
      "a.:443",
      ".a:443",
      "a..b:443",
      "a b:443",
      "a\t:443",
      "u@a:443",
      "a:443:443",
      "127.0.0.1:443",
      "127.1:443",
      "0x7f.1:443",
      "0x7f000001:443",
      "[::1]:443",
      "-a:443",
      "a-:443",
      "a_b:443",
      "bücher:443",
      "a\0:443",
      "a/b:443",
      `${"a".repeat(64)}:443`,
    ]) {
      assert.equal(parseAuthority(text), null, text);
    }
    assert.equal(parseAuthority("::1:80", { addresses: true }), null);
  });

  test("stands alone in an absolute target", () => {
    assert.deepEqual(parseAbsoluteTarget("http://a.b/c?d"), {
      authority: { host: "a.b", port: 80 },
      path: "/c?d",
    });
    assert.deepEqual(parseAbsoluteTarget("http://a.b"), {
      authority: { host: "a.b", port: 80 },
      path: "/",
    });
    for (const target of [
      "https://a.b/",
      "http://u@a.b/",
      "http://a.b?x",
      "http://a.b#x",
      "http:///x",
      "http://a\\b/",
      "/x",
    ]) {
      assert.equal(parseAbsoluteTarget(target), null, target);
    }
  });
});

suite("an address", () => {
  test("is public, private or forbidden, also inside another one", () => {
    const kinds: [string, string][] = [
      ...["1.1.1.1", "140.82.112.6", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"].map(
        (a) => [a, "public"] as [string, string],
      ),
      ...[
        "127.0.0.1",
        "10.1.2.3",
        "172.31.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "::1",
        "fd12::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
      ].map((a) => [a, "private"] as [string, string]),
      ...[
        "169.254.169.254",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "::",
        "fe80::1",
        "ff02::1",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
      ].map((a) => [a, "forbidden"] as [string, string]),
      ...[
        "2001::1",
        "2002:7f00:1::",
        "64:ff9b:1::1",
        "::127.0.0.1",
        "100.100.100.200",
        "fe80::1%eth0",
        "nonsense",
        "192.0.0.192",
      ].map((a) => [a, "forbidden"] as [string, string]),
    ];

    for (const [address, kind] of kinds) assert.equal(kindOfAddress(address), kind, address);
  });

  test("of a name is looked up once and refused when private", async () => {
    const never = new AbortController().signal;

    await assert.rejects(
      vettedAddresses({ host: "localhost", port: 443, private: false }, never),
      (error: { code: string }) => error.code === "address_refused",
    );
    const allowed = await vettedAddresses({ host: "localhost", port: 443, private: true }, never);
    assert.ok(allowed.every((address) => ["127.0.0.1", "::1"].includes(address)));
  });
});

suite("a path rule", () => {
  test("is exact, or whole segments below, or one segment by name", () => {
    const cases: [string, string, boolean][] = [
      ["/user", "/user", true],
      ["/user", "/user/", false],
      ["/user", "/users", false],
      ["/repos/acme/", "/repos/acme/", true],
      ["/repos/acme/", "/repos/acme/x/y", true],
      ["/repos/acme/", "/repos/acme", false],
      ["/repos/acme/", "/repos/acme2/x", false],
      ["/repos/acme/", "/repos/%61cme/x", false],
      ["/repos/{owner}/issues", "/repos/acme/issues", true],
      ["/repos/{owner}/issues", "/repos//issues", false],
      ["/repos/{owner}/issues", "/repos/a/b/issues", false],
      ["/repos/{owner}/", "/repos/acme/x", true],
      ["/", "/anything/at/all", true],
      ["/a.b", "/axb", false],
    ];

    for (const [pattern, path, expected] of cases) {
      assert.equal(isPathMatch(pattern, path), expected, `${pattern} ${path}`);
    }
  });
});

suite("plain HTTP upstream", () => {
  test("is for port 80 and for a host of one's own, and carries no credential to the public", async () => {
    assert.equal(isPlainAllowed({ host: "a.b" }), false);
    assert.equal(isPlainAllowed({ host: "a.b", port: 80 }), true);
    assert.equal(isPlainAllowed({ host: "a.b", port: 8080 }), false);
    assert.equal(isPlainAllowed({ host: "a.b", port: 8080, private: true }), true);
    assert.equal(isPlainAllowed({ host: "a.b", port: 443, private: true }), false);
    const credential = {
      name: "c",
      http: { hosts: ["a.b:80"], methods: ["GET" as const], paths: ["/"], header: "X-Key" },
      secret: () => Buffer.from("secret-value"),
    };
    const req = { method: "GET", headers: {}, rawHeaders: [] } as never;
    const to = {
      rule: { host: "a.b", port: 80 },
      authority: { host: "a.b", port: 80 },
      isTls: false,
    };

    await assert.rejects(
      planRequest(req, "/x", to, [credential], () => ({}) as never),
      (error: { code: string }) => error.code === "credential_needs_tls",
    );
  });
});

suite("the certificate authority of a run", () => {
  const handshake = async (authority: CertificateAuthority, host: string): Promise<string> => {
    const { certPem, keyPem } = authority.issue(host);
    const server = tls.createServer({ cert: certPem, key: keyPem }, (socket) => socket.end("x"));
    server.on("tlsClientError", () => {});
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const socket = tls.connect({
      host: "127.0.0.1",
      port: (server.address() as AddressInfo).port,
      ca: authority.certPem,
      servername: host,
    });
    try {
      await once(socket, "secureConnect");
      return "ok";
    } catch (error) {
      return messageOf(error);
    } finally {
      socket.destroy();
      server.close();
    }
  };

  test("speaks for the hosts of the run and for no other", async () => {
    const authority = new CertificateAuthority({ name: "run", hosts: ["api.test", "b.test"] });
    const empty = new CertificateAuthority({ name: "run", hosts: [] });

    assert.equal(await handshake(authority, "api.test"), "ok");
    assert.equal(await handshake(authority, "evil.test"), "permitted subtree violation");
    assert.equal(await handshake(empty, "api.test"), "permitted subtree violation");
  });

  test("writes certificates that a strict reader takes", () => {
    const authority = new CertificateAuthority({ name: "run", hosts: ["api.test"] });
    const ca = new X509Certificate(authority.certPem);
    const leaf = new X509Certificate(authority.issue("api.test").certPem);

    assert.equal(ca.ca, true);
    assert.equal(leaf.ca, false);
    assert.ok(ca.verify(ca.publicKey) && leaf.verify(ca.publicKey) && leaf.checkIssued(ca));
    assert.equal(leaf.subjectAltName, "DNS:api.test");
    assert.deepEqual(leaf.keyUsage, ["1.3.6.1.5.5.7.3.1"]);
    assert.ok(leaf.validToDate.getTime() - Date.now() > 6 * 86_400_000);
  });

  test("is another one in every run, and its key is in no file", async () => {
    const options = { run: "a-run", log: silentLog, onRequest: () => {} };
    const [one, two] = [new Boundary(options), new Boundary(options)];

    assert.notEqual(one.caPem, two.caPem);
    const files = one.sandboxFiles();
    for (const { data } of files) assert.doesNotMatch(data.toString(), /PRIVATE KEY/);
    const isText = ({ path }: { path: string }) => !path.endsWith(".jks");
    assert.ok(files.filter(isText).every(({ data }) => data.toString().endsWith(one.caPem)));
    const certificate = new X509Certificate(one.caPem).raw;
    assert.ok(files.find((file) => !isText(file))?.data.includes(certificate));
    const paths = new Set(files.map(({ path }) => path));
    const named = Object.entries(one.sandboxEnv()).filter(([, value]) => value.startsWith("/"));
    assert.ok(named.length >= 8 && named.every(([, path]) => paths.has(path)));
  });
});
