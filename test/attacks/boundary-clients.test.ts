import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, suite, test } from "node:test";
import { CertificateAuthority } from "../../src/tool-runner/boundary/certificate-authority.ts";
import { type AttackRange, openRange } from "../helpers/attack-range.ts";

const HOST = "api.clients.internal";
const SECRET = randomBytes(32).toString("base64url");

const GO_PROGRAM = `package main
import ("fmt"; "io"; "net/http"; "os")
func main() {
	answer, err := http.Get(os.Args[1])
	if err != nil { fmt.Println(err); os.Exit(1) }
	body, _ := io.ReadAll(answer.Body)
	fmt.Print(string(body))
}
`;
const JAVA_PROGRAM = `import java.net.*;
public class Get {
  public static void main(String[] words) throws Exception {
    System.out.print(new String(new URL(words[0]).openConnection().getInputStream().readAllBytes()));
  }
}
`;

function program(name: string): string | false {
  const found = spawnSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" });
  return found.status === 0 ? found.stdout.trim() : false;
}

/** What is on the host under /usr, where a sandbox finds it; a reason to skip otherwise. */
function missing(name: string): string | false {
  return existsSync(`/usr/bin/${name}`) ? false : `no /usr/bin/${name} on this machine`;
}

suite("real clients in the sandbox, HTTPS with a credential that they never have", () => {
  const directory = mkdtempSync(path.join(tmpdir(), "clients-"));
  const authority = new CertificateAuthority({ name: "clients" });
  const seen: { url: string; authorized: boolean; agent: string }[] = [];
  const files: Record<string, string> = {};
  let server: https.Server;
  let range: AttackRange;
  let origin: string;
  let requestsLibrary: string | false = "no Python package requests on this machine";
  let goProgram: string | false = "no Go on this machine";

  // Go compiles its HTTP library the first time.
  before(
    async () => {
      const { certPem, keyPem } = authority.issue(HOST);
      const repository = path.join(directory, "site.git");
      server = https.createServer({ cert: certPem, key: keyPem }, (request, response) => {
        const authorized = request.headers.authorization === `Bearer ${SECRET}`;
        const url = (request.url ?? "").split("?")[0] ?? "";
        seen.push({ url, authorized, agent: request.headers["user-agent"] ?? "" });
        const file = url.startsWith("/site.git/") ? path.join(directory, url) : null;
        if (!authorized) response.writeHead(401).end("not you");
        else if (file === null) response.end(`hello ${request.headers.authorization}\n`);
        else if (existsSync(file)) response.end(readFileSync(file));
        else response.writeHead(404).end();
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      const { port } = server.address() as AddressInfo;
      origin = `https://${HOST}:${port}`;
      makeRepository(repository);
      collectPrograms();
      range = await openRange({
        secrets: { "api/token": SECRET },
        node: true,
        files,
        tools: {
          client: {
            sandbox: {
              network: [
                {
                  host: HOST,
                  port,
                  private: true,
                  address: "127.0.0.1",
                  ca: { inline: authority.certPem },
                },
              ],
              timeout: "60s",
              limits: { memory: "2Gi", processes: 256, cpu: "60s" },
            },
            credentials: [
              {
                name: "the-api",
                secretRef: { name: "api", key: "token" },
                http: {
                  hosts: [`${HOST}:${port}`],
                  methods: ["GET", "HEAD"],
                  paths: ["/v1/", "/site.git/"],
                  header: "Authorization",
                  format: "Bearer {{secret}}",
                },
              },
            ],
          },
        },
      });
    },
    { timeout: 400_000 },
  );
  afterEach(async () => {
    await range.sweep();
  });
  after(async () => {
    await range?.[Symbol.asyncDispose]();
    server.closeAllConnections();
    server.close();
    rmSync(directory, { recursive: true, force: true });
  });

  function makeRepository(repository: string): void {
    const git = (...words: string[]) => {
      const identity = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@t",
        "-c",
        "init.defaultBranch=main",
      ];
      const { status, stderr } = spawnSync("git", [...identity, ...words], { encoding: "utf8" });
      assert.equal(status, 0, stderr);
    };
    if (program("git") === false) return;
    const work = path.join(directory, "work");
    git("init", "-q", work);
    writeFileSync(path.join(work, "README"), "cloned through the boundary\n");
    git("-C", work, "add", "README");
    git("-C", work, "commit", "-qm", "first");
    git("clone", "-q", "--bare", work, repository);
    git("-C", repository, "update-server-info");
  }

  /** What the host's /usr does not have goes into the package. */
  function collectPrograms(): void {
    const library = spawnSync(
      "python3",
      [
        "-c",
        "import requests, urllib3, idna, certifi, charset_normalizer as c; [print(m.__path__[0]) for m in (requests, urllib3, idna, certifi, c)]",
      ],
      { encoding: "utf8" },
    );
    if (library.status === 0) {
      const site = path.join(directory, "site");
      mkdirSync(site);
      for (const dir of library.stdout.trim().split("\n"))
        cpSync(dir, path.join(site, path.basename(dir)), { recursive: true, dereference: true });
      files["site"] = site;
      requestsLibrary = false;
    }
    const go = program("go");
    if (go !== false) {
      writeFileSync(path.join(directory, "get.go"), GO_PROGRAM);
      const { status, stderr } = spawnSync(go, ["build", "-o", "get", "get.go"], {
        cwd: directory,
        encoding: "utf8",
        env: { ...process.env, CGO_ENABLED: "0", GOFLAGS: "-mod=mod", GO111MODULE: "off" },
      });
      goProgram = status === 0 ? false : `Go cannot build: ${stderr.slice(0, 200)}`;
      if (status === 0) files["get-go"] = path.join(directory, "get");
    }
    writeFileSync(path.join(directory, "Get.java"), JAVA_PROGRAM);
    files["Get.java"] = path.join(directory, "Get.java");
  }

  const clients: { name: string; script: () => string; skip: () => string | false }[] = [
    { name: "curl", script: () => `curl -sS ${origin}/v1/hello`, skip: () => missing("curl") },
    { name: "wget", script: () => `wget -qO- ${origin}/v1/hello`, skip: () => missing("wget") },
    {
      name: "Python's urllib",
      script: () =>
        `/usr/bin/python3 -c 'import urllib.request as u; print(u.urlopen("${origin}/v1/hello").read().decode())'`,
      skip: () => missing("python3"),
    },
    {
      name: "Python's requests",
      script: () =>
        `PYTHONPATH=/opt/tool/site /usr/bin/python3 -c 'import requests; print(requests.get("${origin}/v1/hello").text)'`,
      skip: () => missing("python3") || requestsLibrary,
    },
    {
      name: "Node's fetch",
      script: () =>
        `/opt/tool/node -e 'fetch("${origin}/v1/hello").then((r) => r.text()).then(console.log)'`,
      skip: () => false,
    },
    { name: "Go", script: () => `/opt/tool/get-go ${origin}/v1/hello`, skip: () => goProgram },
    {
      name: "Java",
      script: () => `java -Xmx256m -XX:+UseSerialGC /opt/tool/Get.java ${origin}/v1/hello`,
      skip: () => missing("java"),
    },
    {
      name: "a program that takes the base URL, and so needs no certificate of ours",
      script: () => 'curl -sS --cacert /dev/null "$AGENTKUBE_HTTP_THE_API/v1/hello"',
      skip: () => missing("curl"),
    },
  ];
  for (const { name, script, skip } of clients)
    test(`${name} is let in by the credential and is shown a mask of it`, async (context) => {
      const reason = skip();
      if (reason !== false) return context.skip(reason);
      seen.length = 0;

      const { stdout, stderr, exitCode, requests } = await range.attack("client", script());

      assert.equal(exitCode, 0, stderr);
      assert.match(stdout, /hello Bearer \*{43}\n/, stderr);
      assert.deepEqual(
        requests.map(({ credential, verdict }) => [credential, verdict]),
        [["the-api", "allowed"]],
      );
      assert.ok(seen.length === 1 && seen[0]?.authorized);
    });

  test("git clones over HTTPS", async (context) => {
    const reason = missing("git");
    if (reason !== false) return context.skip(reason);
    seen.length = 0;

    const { stdout, stderr, exitCode } = await range.attack(
      "client",
      `git clone -q ${origin}/site.git /tmp/clone && cat /tmp/clone/README`,
    );

    assert.equal(exitCode, 0, stderr);
    assert.equal(stdout, "cloned through the boundary\n");
    assert.ok(
      seen.length > 3 &&
        seen.every(({ authorized, agent }) => authorized && agent.startsWith("git/")),
    );
  });
});
