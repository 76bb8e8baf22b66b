import assert from "node:assert/strict";
import {
  copyFileSync,
  readFileSync,
  readdirSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import path from "node:path";
import { suite, test } from "node:test";
import { until } from "../helpers/until.ts";
import type { Attempt, Targets } from "../fixtures/hostile-agent.ts";
import { openLab, repository, resultOf } from "../helpers/lab.ts";
import type { Lab } from "../helpers/lab.ts";
import { aTool, anAgent, writePackage } from "../helpers/manifests.ts";
import { trustedPartsOf } from "../helpers/run-parts.ts";

suite("a hostile agent in zone A", () => {
  test("gets at nothing of the host, and nested user namespaces still work", async () => {
    await using lab = openLab();
    await using agentSocket = await listen(path.join(lab.home, "ssh-agent.sock"));
    const secretFile = lab.write("secret", "a-secret-of-the-user-0123456789", 0o600);
    // Manifests and the package lie in the workspace: read-only for the agent all the same.
    const inWorkspace = (name: string, content: object) => {
      writeFileSync(path.join(lab.workspace, name), JSON.stringify(content));
      return path.join(lab.workspace, name);
    };
    writePackage(path.join(lab.workspace, "echoing"), "#!/bin/sh\necho genuine\n");
    copyFileSync(
      path.join(repository, "test/fixtures/hostile-agent.ts"),
      path.join(lab.workspace, "hostile-agent.ts"),
    );
    const script = "/opt/agentkube/node ./hostile-agent.ts && echoing run";
    const agent = inWorkspace("agent.yaml", anAgent(script, { tools: ["echoing"] }));
    const tool = inWorkspace("tool.yaml", aTool("echoing"));

    const cli = lab.run([agent, tool], {
      env: { SSH_AUTH_SOCK: agentSocket.path, LAB_TOKEN: "host-environment" },
    });
    await untilReady(lab, cli.ended);
    const info = await lab.waitForRun();
    const inZone = lab.processes().filter(({ command }) => /hostile-agent\.ts/.test(command));
    assert.ok(inZone.length > 0);
    for (const { pid } of inZone)
      assert.notEqual(statSync(`/proc/${pid}`).uid, 0, "the host's root");
    const parts = trustedPartsOf(info.supervisorPid);
    const runtimeDir =
      readdirSync(lab.runtime).map((name) => path.join(lab.runtime, name))[0] ?? "";
    const sockets = readdirSync(runtimeDir).filter((name) => name.endsWith(".sock"));
    assert.ok(sockets.length >= 3, sockets.join(" "));
    const targets: Targets = {
      run: info.run,
      managerPort: lab.manager().port,
      pids: { supervisor: info.supervisorPid, manager: lab.manager().pid, ...parts },
      paths: {
        "data directory": lab.data,
        "runtime directory": runtimeDir,
        "secret file": secretFile,
        "configuration directory": lab.config,
        "host's HOME": lab.home,
        repository: repository,
        "host's /root": "/root",
        "docker socket": "/var/run/docker.sock",
      },
      sockets: {
        "the ssh agent": agentSocket.path,
        docker: "/var/run/docker.sock",
        ...Object.fromEntries(sockets.map((name) => [name, path.join(runtimeDir, name)])),
      },
      covered: [
        agent,
        tool,
        path.join(lab.workspace, "echoing/tool"),
        path.join(lab.workspace, "echoing"),
      ],
    };
    writeFileSync(path.join(lab.workspace, "targets.tmp"), JSON.stringify(targets));
    renameSync(path.join(lab.workspace, "targets.tmp"), path.join(lab.workspace, "targets.json"));
    const end = await cli.ended;
    const result = resultOf(end);
    const report = JSON.parse(readFileSync(path.join(lab.workspace, "attempts.json"), "utf8")) as {
      attempts: Attempt[];
      nested: string;
      nestedError: string;
    };

    assert.equal(result.outcome, "succeeded", end.text);
    assert.equal(result.recording?.verified, true);
    assert.ok(report.attempts.length > 100, `only ${report.attempts.length} attempts`);
    assert.deepEqual(
      report.attempts.filter(({ worked }) => worked),
      [],
    );
    assert.equal(report.nested, "0", report.nestedError);
    // The host's view agrees: no mode bits, no changed file, and files belong to the owner of the workspace.
    for (const entry of readdirSync(lab.workspace, { recursive: true, encoding: "utf8" })) {
      const stat = statSync(path.join(lab.workspace, entry));
      assert.equal(stat.mode & 0o6000, 0, entry);
      assert.equal(stat.uid, statSync(lab.workspace).uid, entry);
    }
    assert.equal(readFileSync(tool, "utf8"), JSON.stringify(aTool("echoing")));
    assert.deepEqual(
      result.calls.map(({ tool: name, outcome }) => [name, outcome]),
      [["echoing", "completed"]],
    );
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("that kills everything it can reach ends as signalled, with its record whole", async () => {
    await using lab = openLab();
    const agent = lab.write("agent.yaml", anAgent("echo before; (kill -9 -1); echo after"));

    const end = await lab.run([agent]).ended;
    const result = resultOf(end);

    assert.deepEqual(
      [result.outcome, result.reason, result.signal],
      ["failed", "signalled", "SIGKILL"],
      end.text,
    );
    assert.equal(end.code, 137);
    assert.equal(result.recording?.verified, true);
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("cannot use the public network to reach this machine or private addresses", async () => {
    await using lab = openLab();
    await using inner = await listenTcp();
    const program = `
      import http from "node:http";
      const proxy = new URL(process.env.HTTP_PROXY ?? process.env.http_proxy);
      const user = decodeURIComponent(proxy.username) + ":" + decodeURIComponent(proxy.password);
      const authorization = "Basic " + Buffer.from(user).toString("base64");
      const ask = (method, path, host) => new Promise((resolve) => {
        const headers = { host, "proxy-authorization": authorization };
        const request = http.request({ host: proxy.hostname, port: proxy.port, method, path, headers });
        request.on("connect", (response) => resolve(response.statusCode));
        request.on("response", (response) => resolve(response.statusCode));
        request.on("error", (error) => resolve(error.message)).setTimeout(4000, () => resolve("timeout"));
        request.end();
      });
      for (const host of ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "192.168.1.1", "2130706433", "0x7f.1"]) {
        for (const port of [${inner.port}, 443, 80]) {
          const authority = host + ":" + port;
          const connect = await ask("CONNECT", authority, authority);
          const get = await ask("GET", "http://" + authority + "/", port === 80 ? host : authority);
          console.log(authority + " CONNECT " + connect + " GET " + get);
        }
      }
    `;
    writeFileSync(path.join(lab.workspace, "probe.mjs"), program);
    const agent = lab.write(
      "agent.yaml",
      anAgent("/opt/agentkube/node ./probe.mjs", { network: "public" }),
    );

    const end = await lab.run([agent]).ended;
    const result = resultOf(end);
    const raw = (
      await lab.agentkube(["recording", "cat", result.run, "--raw", "--data", lab.data]).ended
    ).stdout.toString();

    assert.equal(result.outcome, "succeeded", `${end.text}\n${raw}`);
    const lines = raw.trim().split(/\r?\n/);
    assert.equal(lines.length, 30, raw);
    for (const line of lines) assert.match(line, /CONNECT (?:4\d\d|502) GET (?:4\d\d|502)$/, raw);
    assert.equal(inner.connections(), 0);
  });
});

async function untilReady(lab: Lab, ended: Promise<unknown>): Promise<void> {
  let over = false;
  void ended.then(() => (over = true));
  await until("the agent to be ready", () => {
    if (over) return true;
    return statSync(path.join(lab.workspace, "ready"), { throwIfNoEntry: false }) === undefined
      ? undefined
      : true;
  });
}

async function listen(socketPath: string): Promise<{ path: string } & AsyncDisposable> {
  const server = createServer((socket) => socket.destroy()).listen(socketPath);
  await once(server, "listening");
  return {
    path: socketPath,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

async function listenTcp(): Promise<{ port: number; connections(): number } & AsyncDisposable> {
  let count = 0;
  const server = createServer((socket) => {
    count += 1;
    socket.destroy();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    connections: () => count,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
