import assert from "node:assert/strict";
import { request } from "node:http";
import { suite, test } from "node:test";
import { WebSocket } from "ws";
import type { Manager } from "../../src/manager/manager.ts";
import { api, seedRun, startManager } from "./seed.ts";

/** A bare request: fetch would not send a foreign Host. */
async function bare(
  manager: Manager,
  path: string,
  headers: Record<string, string>,
  method = "GET",
): Promise<{ status: number; headers: Record<string, unknown>; body: string }> {
  const { port } = new URL(manager.url);
  return await new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, path, method, headers }, (answer) => {
      let body = "";
      answer.setEncoding("utf8");
      answer.on("data", (text: string) => {
        body += text;
      });
      answer.on("end", () =>
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body }),
      );
    });
    sent.on("error", reject);
    sent.end();
  });
}

async function cookieOf(manager: Manager): Promise<string> {
  const answer = await api(manager, "/v1/login", { method: "POST" });
  return answer.headers.get("set-cookie") ?? "";
}

/** The status an upgrade is refused with; 101 when it is taken. */
async function upgrade(url: string, headers: Record<string, string>): Promise<number> {
  const socket = new WebSocket(url.replace("http", "ws"), ["v1.alis"], { headers });
  return await new Promise((resolve) => {
    socket.once("open", () => {
      socket.terminate();
      resolve(101);
    });
    socket.once("unexpected-response", (_request, answer) => {
      socket.terminate();
      resolve(answer.statusCode ?? 0);
    });
    socket.on("error", () => undefined);
  });
}

suite("access", () => {
  test("calls a request target that is no path a bad request", async (t) => {
    const { manager } = await startManager(t);
    const { host } = new URL(manager.url);

    for (const target of ["http://[", "*", "foo"])
      assert.equal((await bare(manager, target, { host })).status, 400, target);
    assert.notEqual((await bare(manager, "//", { host })).status, 500);
  });

  test("needs the operator token on every route with data", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const { run } = await seedRun(manager, dataDir);
    const routes = ["health", "stats", "runs", `runs/${run}`, `runs/${run}/events`, "nothing"];

    for (const route of routes) {
      const none = await fetch(`${manager.url}/v1/${route}`);
      const wrong = await fetch(`${manager.url}/v1/${route}`, {
        headers: { authorization: `Bearer ${"x".repeat(43)}` },
      });
      assert.equal(none.status, 401, route);
      assert.equal(wrong.status, 401, route);
      assert.deepEqual(Object.keys((await none.json()) as object), ["error"]);
    }
    for (const face of ["follow", "live", "attach", "nothing"])
      assert.equal(await upgrade(`${manager.url}/v1/runs/${run}/${face}`, {}), 401, face);
  });

  test("serves the page without a token, and nothing beside it", async (t) => {
    const { manager } = await startManager(t, { hosts: ["agents.internal"] });

    const page = await fetch(`${manager.url}/`);
    const player = await fetch(`${manager.url}/player.js`);
    const outside = await bare(manager, "/../main.ts", {});

    assert.equal(page.status, 200);
    const policy = page.headers.get("content-security-policy") ?? "";
    assert.match(policy, /default-src 'none'/);
    assert.match(policy, /script-src 'self' 'wasm-unsafe-eval';/);
    const { port } = new URL(manager.url);
    assert.match(policy, new RegExp(`connect-src 'self'[^;]* ws://agents\\.internal:${port}(;| )`));
    assert.equal(player.status, 200);
    assert.equal(outside.status, 401);
  });

  test("refuses a foreign Host and a foreign Origin", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const { run } = await seedRun(manager, dataDir);
    const authorization = `Bearer ${manager.token}`;
    const own = new URL(manager.url).host;

    const rebound = await bare(manager, "/v1/runs", { authorization, host: "evil.example" });
    const foreign = await bare(manager, "/v1/runs", {
      authorization,
      origin: "http://evil.example",
    });
    const page = await bare(manager, "/", { host: "evil.example" });
    const named = await bare(manager, "/v1/runs", {
      authorization,
      host: own,
      origin: manager.url,
    });
    const socket = await upgrade(`${manager.url}/v1/runs/${run}/live`, {
      authorization,
      origin: "http://evil.example",
    });

    assert.equal(rebound.status, 403);
    assert.equal(foreign.status, 403);
    assert.equal(page.status, 403);
    assert.equal(named.status, 200);
    assert.equal(socket, 403);
  });

  test("turns the token into a cookie that reads, and acts only from its own page", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const { run } = await seedRun(manager, dataDir);
    const set = await cookieOf(manager);
    const cookie = set.split(";")[0] ?? "";
    const origin = manager.url;

    assert.match(set, /; HttpOnly; SameSite=Strict; Path=\//);
    assert.ok(!set.includes(manager.token));
    assert.equal((await bare(manager, "/v1/runs", { cookie })).status, 200);
    const stop = `/v1/runs/${run}/stop`;
    assert.equal((await bare(manager, stop, { cookie }, "POST")).status, 401);
    assert.equal((await bare(manager, stop, { cookie, origin }, "POST")).status, 202);
    assert.equal(
      (await bare(manager, "/v1/shutdown-if-idle", { cookie, origin }, "POST")).status,
      401,
    );
    const live = `${manager.url}/v1/runs/${run}/live`;
    assert.equal(await upgrade(live, { cookie }), 401);
    assert.equal(await upgrade(live, { cookie, origin }), 101);
    assert.equal((await bare(manager, "/v1/login", { cookie, origin }, "POST")).status, 401);
    const forged = cookie.replace(/.$/, (last) => (last === "0" ? "1" : "0"));
    assert.equal((await bare(manager, "/v1/runs", { cookie: forged })).status, 401);
  });
});
