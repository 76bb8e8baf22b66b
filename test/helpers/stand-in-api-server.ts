// A stand-in for a Kubernetes API server: HTTPS with an authority of its own, and TokenReview as the real one answers it. It knows the
// tokens that it has minted. Not a real API server: what it does was taken from what a real one answered.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { json } from "node:stream/consumers";
import { CertificateAuthority } from "../../src/tool-runner/boundary/certificate-authority.ts";

export interface ProjectedToken {
  audience: string;
  namespace: string;
  serviceAccount: string;
  /** without: a token that is bound to no pod */
  pod?: { name: string; uid: string };
}

export interface StandInApiServer extends AsyncDisposable {
  readonly url: string;
  /** `token` and `ca.crt`, as a pod's service account has them */
  readonly accountDir: string;
  /** how many reviews were asked for */
  readonly reviews: number;
  mint(token: ProjectedToken): string;
  revoke(token: string): void;
  /** answers what it is told from now on; null: as it should */
  break(how: "500" | "403" | "silence" | "nonsense" | "no audiences" | "flood" | null): void;
}

export async function openStandInApiServer(): Promise<StandInApiServer> {
  const authority = new CertificateAuthority({ name: "stand-in cluster" });
  const { certPem, keyPem } = authority.issue("localhost");
  const accountDir = mkdtempSync(path.join(tmpdir(), "agentkube-account-"));
  const own = randomBytes(24).toString("base64url");
  writeFileSync(path.join(accountDir, "token"), own);
  writeFileSync(path.join(accountDir, "ca.crt"), authority.certPem);
  const minted = new Map<string, ProjectedToken>();
  let reviews = 0;
  let broken: Parameters<StandInApiServer["break"]>[0] = null;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const say = (status: number, body: unknown): void => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(typeof body === "string" ? body : JSON.stringify(body));
    };
    if (request.headers.authorization !== `Bearer ${own}`) return say(401, {});
    if (request.url !== "/apis/authentication.k8s.io/v1/tokenreviews") return say(404, {});
    const { spec } = (await json(request)) as { spec: { token: string; audiences: string[] } };
    reviews += 1;
    if (broken === "silence") return;
    if (broken === "500" || broken === "403") return say(Number(broken), { kind: "Status" });
    if (broken === "nonsense") return say(201, "{");
    if (broken === "flood") return say(201, "x".repeat(1024 * 1024));
    const token = minted.get(spec.token);
    if (token === undefined || !spec.audiences.includes(token.audience))
      return say(201, { status: { user: {}, error: "invalid bearer token" } });
    const bound = token.pod;
    say(201, {
      kind: "TokenReview",
      status: {
        authenticated: true,
        ...(broken === "no audiences" ? {} : { audiences: [token.audience] }),
        user: {
          username: `system:serviceaccount:${token.namespace}:${token.serviceAccount}`,
          groups: ["system:serviceaccounts"],
          extra: bound && {
            "authentication.kubernetes.io/pod-name": [bound.name],
            "authentication.kubernetes.io/pod-uid": [bound.uid],
          },
        },
      },
    });
  }

  const server = createServer({ cert: certPem, key: keyPem }, (request, response) => {
    void answer(request, response).catch(() => response.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `https://localhost:${(server.address() as AddressInfo).port}`,
    accountDir,
    get reviews() {
      return reviews;
    },
    mint(token) {
      const text = randomBytes(32).toString("base64url");
      minted.set(text, token);
      return text;
    },
    revoke: (token) => void minted.delete(token),
    break: (how) => void (broken = how),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(accountDir, { recursive: true, force: true });
    },
  };
}
