import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite, test, type TestContext } from "node:test";
import { atEnd } from "../helpers/at-end.ts";
import { kubernetesApiOf, TokenReviews } from "../../src/manager/token-review.ts";
import type { Manager } from "../../src/manager/manager.ts";
import { createSigningKey } from "../../src/kit/signing.ts";
import { PROTOCOL } from "../../src/protocol/version.ts";
import {
  openStandInApiServer,
  type ProjectedToken,
  type StandInApiServer,
} from "../helpers/stand-in-api-server.ts";
import { startManager } from "./seed.ts";

const POD = { namespace: "team-a", name: "bot", serviceAccount: "bot" };
const UID = "7a4c0f3e-0000-4000-8000-000000000001";

function tokenOf(role: string, more: Partial<ProjectedToken> = {}): ProjectedToken {
  const { namespace, serviceAccount } = POD;
  const pod = { name: POD.name, uid: UID };
  return { audience: `agentkube-${role}`, namespace, serviceAccount, pod, ...more };
}

async function cluster(t: TestContext): Promise<{ server: StandInApiServer; manager: Manager }> {
  const server = await openStandInApiServer();
  atEnd(t, async () => await server[Symbol.asyncDispose]());
  const { manager } = await startManager(t, {
    kubernetes: { url: server.url, accountDir: server.accountDir },
  });
  return { server, manager };
}

async function announce(manager: Manager, run: string, how: object): Promise<number> {
  const answer = await fetch(`${manager.url}/v1/pods`, {
    method: "POST",
    headers: { authorization: `Bearer ${manager.token}` },
    body: JSON.stringify({
      protocol: PROTOCOL,
      run,
      agent: "bot",
      runtime: "Custom",
      mode: "system",
      tools: [],
      interactive: false,
      terminal: { cols: 80, rows: 24 },
      ...how,
    }),
  });
  return answer.status;
}

const KEY = createSigningKey().publicKey;

async function boot(manager: Manager, run: string, role: string, token: string): Promise<number> {
  const answer = await fetch(`${manager.url}/v1/runs/${run}/boot`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}` },
    body: JSON.stringify({
      protocol: PROTOCOL,
      role,
      ...(role === "agentlet" ? {} : { key: KEY }),
    }),
  });
  return answer.status;
}

suite("tokens of pods by TokenReview, against a stand-in for the API server", () => {
  test("each role is given its tokens for the projected one of its audience, of this run's pod, and for no other", async (t) => {
    const { server, manager } = await cluster(t);
    assert.equal(await announce(manager, "bot", { pod: POD }), 201);

    for (const role of ["agentlet", "recorder", "runner"])
      assert.equal(await boot(manager, "bot", role, server.mint(tokenOf(role))), 200, role);
    const refused: [what: string, role: string, token: Partial<ProjectedToken>][] = [
      ["another role's audience", "runner", { audience: "agentkube-agentlet" }],
      ["another pod", "agentlet", { pod: { name: "bot-2", uid: UID } }],
      ["a later pod of the same name", "agentlet", { pod: { name: "bot", uid: "other" } }],
      ["another namespace", "agentlet", { namespace: "team-b" }],
      ["another account", "agentlet", { serviceAccount: "default" }],
    ];
    for (const [what, role, more] of refused)
      assert.equal(await boot(manager, "bot", role, server.mint(tokenOf(role, more))), 401, what);
    const { pod: _, ...unbound } = tokenOf("agentlet");
    assert.equal(await boot(manager, "bot", "agentlet", server.mint(unbound)), 401);
    assert.equal(await boot(manager, "bot", "agentlet", "x".repeat(43)), 401);
    assert.equal(await boot(manager, "nobody", "agentlet", server.mint(tokenOf("agentlet"))), 401);
  });

  test("a uid that was given with the run is held to from the start", async (t) => {
    const { server, manager } = await cluster(t);
    await announce(manager, "bot", { pod: { ...POD, uid: UID } });
    const other = server.mint(tokenOf("agentlet", { pod: { name: "bot", uid: "first-come" } }));

    assert.equal(await boot(manager, "bot", "agentlet", other), 401);
    assert.equal(await boot(manager, "bot", "agentlet", server.mint(tokenOf("agentlet"))), 200);
  });

  test("an API server that fails, is slow, refuses us or makes no sense is a refusal that may be tried again, never a yes", async (t) => {
    const { server, manager } = await cluster(t);
    await announce(manager, "bot", { pod: POD });

    for (const how of ["500", "403", "nonsense", "flood", "silence"] as const) {
      server.break(how);
      const token = server.mint(tokenOf("agentlet"));
      assert.equal(await boot(manager, "bot", "agentlet", token), 503, how);
    }
    server.break("no audiences");
    assert.equal(await boot(manager, "bot", "agentlet", server.mint(tokenOf("agentlet"))), 401);
    server.break(null);
    assert.equal(await boot(manager, "bot", "agentlet", server.mint(tokenOf("agentlet"))), 200);
  });

  test("an API server with a certificate of another authority is not believed", async (t) => {
    const { server, manager } = await cluster(t);
    await using other = await openStandInApiServer();
    await announce(manager, "bot", { pod: POD });
    const theirs = readFileSync(path.join(other.accountDir, "ca.crt"));
    writeFileSync(path.join(server.accountDir, "ca.crt"), theirs);

    const token = server.mint(tokenOf("agentlet"));
    assert.equal(await boot(manager, "bot", "agentlet", token), 503);
    assert.equal(server.reviews, 0);
  });

  test("an answer is remembered for seconds: the API server is asked once for tries at once, and again later", async (t) => {
    const server = await openStandInApiServer();
    atEnd(t, async () => await server[Symbol.asyncDispose]());
    const reviews = new TokenReviews(server);
    const token = server.mint(tokenOf("runner"));

    const all = await Promise.all(
      Array.from({ length: 50 }, async () => await reviews.review(token, "agentkube-runner")),
    );
    assert.equal(server.reviews, 1);
    assert(all.every((found) => found?.uid === UID));
    assert.equal(await reviews.review(token, "agentkube-agentlet"), null);
    assert.equal(server.reviews, 2, "another audience is another question");
    server.break("silence");
    const waiting = Array.from(
      { length: 40 },
      async (_, index) =>
        await reviews.review(`unknown-token-${index}`, "agentkube-runner").then(
          () => "answered",
          (error: Error) => error.message,
        ),
    );
    const said = await Promise.all(waiting);
    assert.equal(said.filter((text) => /16 tokens are being reviewed/.test(text)).length, 24);
  });

  test("a manager without an API server says so; a service account that cannot be read is named", async (t) => {
    const { manager } = await startManager(t);
    assert.equal(await announce(manager, "bot", { pod: POD }), 400);
    assert.equal(await announce(manager, "bot", {}), 400);

    await using server = await openStandInApiServer();
    const reviews = new TokenReviews(server);
    rmSync(path.join(server.accountDir, "token"));
    await assert.rejects(
      reviews.review("x".repeat(20), "agentkube-runner"),
      /token" cannot be read/,
    );
  });

  test("the API server is found as a pod finds it, by a name of our own, or not at all", () => {
    assert.deepEqual(kubernetesApiOf({ KUBERNETES_SERVICE_HOST: "fd00::1" }), {
      url: "https://[fd00::1]",
      accountDir: "/var/run/secrets/kubernetes.io/serviceaccount",
    });
    const own = {
      AGENTKUBE_KUBERNETES_API: "https://api:6443",
      AGENTKUBE_SERVICE_ACCOUNT_DIR: "/a",
    };
    assert.deepEqual(kubernetesApiOf(own), { url: "https://api:6443", accountDir: "/a" });
    for (const env of [{}, { AGENTKUBE_KUBERNETES_API: "http://api" }])
      assert.throws(() => kubernetesApiOf(env), /Expected an API server/);
  });
});
