import { readFileSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import * as z from "zod";
import { parseJson } from "../kit/json-lines.ts";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import { tokenHash } from "../kit/token.ts";

/** What the API server says of a token: of which pod it is, and under which account. */
export interface ReviewedPod {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: string;
  readonly uid: string;
}

/** Where the API server is, and who we are there. */
export interface KubernetesApi {
  /** such as `https://10.0.0.1:443` */
  readonly url: string;
  /** directory with `token` and `ca.crt`, read again for each request: kubelet renews them */
  readonly accountDir: string;
}

const ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount";
const PATH = "/apis/authentication.k8s.io/v1/tokenreviews";
const REQUEST_MS = 5000;
const MAX_ANSWER_BYTES = 64 * 1024;
const MAX_AT_ONCE = 16;
/** A yes is remembered shorter than a pod takes to be gone, a no for as long as a container waits between its tries. */
const REMEMBERED_MS = { yes: 10_000, no: 1000 };
const MAX_REMEMBERED = 1024;

const POD_NAME = "authentication.kubernetes.io/pod-name";
const POD_UID = "authentication.kubernetes.io/pod-uid";
const Answer = z.object({
  status: z.object({
    authenticated: z.boolean().optional(),
    audiences: z.array(z.string()).optional(),
    user: z
      .object({
        // Of nobody, the real one says an empty object.
        username: z.string().default(""),
        extra: z.record(z.string(), z.array(z.string())).optional(),
      })
      .optional(),
  }),
});

/**
 * The API server that a manager in a cluster finds: in-cluster by its own account, or by `AGENTKUBE_KUBERNETES_API` and
 * `AGENTKUBE_SERVICE_ACCOUNT_DIR`. Throws `usage` when there is none.
 */
export function kubernetesApiOf(env: Readonly<Record<string, string | undefined>>): KubernetesApi {
  const host = env["KUBERNETES_SERVICE_HOST"] ?? "";
  const port = env["KUBERNETES_SERVICE_PORT"] ?? "443";
  const inCluster = host === "" ? "" : `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const url = URL.parse(env["AGENTKUBE_KUBERNETES_API"] ?? inCluster);
  if (url === null || url.protocol !== "https:")
    throw new PlatformError(
      "usage",
      "Expected an API server for --pod-tokens kubernetes, got none",
      {
        fix: "run the manager in a pod with a service account, or set AGENTKUBE_KUBERNETES_API to https://HOST:PORT",
      },
    );
  return {
    url: url.origin,
    accountDir: env["AGENTKUBE_SERVICE_ACCOUNT_DIR"] ?? ACCOUNT_DIR,
  };
}

/**
 * Asks the API server whose a projected token is. Only a token that is bound to a pod, and whose audience is the one asked for, is
 * anybody's. Answers are remembered for seconds, requests bounded; whatever fails is a refusal that may be tried again.
 */
export class TokenReviews {
  readonly #api: KubernetesApi;
  readonly #remembered = new Map<string, { until: number; answer: Promise<ReviewedPod | null> }>();
  #asking = 0;

  constructor(api: KubernetesApi) {
    this.#api = api;
  }

  /** Null: no token of that audience, or not of a pod. Throws `unavailable` when the API server cannot be asked. */
  async review(token: string, audience: string): Promise<ReviewedPod | null> {
    const key = tokenHash(`${audience} ${token}`);
    const known = this.#remembered.get(key);
    if (known !== undefined && known.until > performance.now()) return await known.answer;
    if (this.#asking >= MAX_AT_ONCE)
      throw unavailable(`${MAX_AT_ONCE} tokens are being reviewed already`);
    this.#asking += 1;
    const answer = this.#ask(token, audience).finally(() => (this.#asking -= 1));
    const entry = { until: performance.now() + REQUEST_MS, answer };
    this.#remember(key, entry);
    try {
      const pod = await answer;
      entry.until = performance.now() + (pod === null ? REMEMBERED_MS.no : REMEMBERED_MS.yes);
      return pod;
    } catch (error) {
      this.#remembered.delete(key);
      throw error;
    }
  }

  #remember(key: string, entry: { until: number; answer: Promise<ReviewedPod | null> }): void {
    this.#remembered.delete(key);
    this.#remembered.set(key, entry);
    // The oldest first: a Map keeps the order of insertion.
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size <= MAX_REMEMBERED) break;
      this.#remembered.delete(oldest);
    }
  }

  async #ask(token: string, audience: string): Promise<ReviewedPod | null> {
    const body = JSON.stringify({
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenReview",
      spec: { token, audiences: [audience] },
    });
    const { status, text } = await this.#post(body);
    if (status !== 201 && status !== 200)
      throw unavailable(
        `it answered ${status}`,
        status === 401 || status === 403
          ? "bind the manager's service account to the ClusterRole system:auth-delegator"
          : undefined,
      );
    return podOf(text, audience);
  }

  async #post(body: string): Promise<{ status: number; text: string }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
    const read = (name: string): string => {
      const path = join(this.#api.accountDir, name);
      try {
        return readFileSync(path, "utf8").trim();
      } catch (error) {
        throw unavailable(
          `"${path}" cannot be read (${errnoOf(error) ?? messageOf(error)})`,
          "give the manager's pod a service account whose token is mounted",
        );
      }
    };
    const request = httpsRequest(
      new URL(PATH, this.#api.url),
      {
        method: "POST",
        ca: read("ca.crt"),
        headers: {
          authorization: `Bearer ${read("token")}`,
          "content-type": "application/json",
          accept: "application/json",
        },
        signal: AbortSignal.timeout(REQUEST_MS),
      },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          text += chunk;
          if (text.length > MAX_ANSWER_BYTES)
            request.destroy(new Error(`its answer is longer than ${MAX_ANSWER_BYTES} bytes`));
        });
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
        response.on("error", reject);
      },
    );
    request.on("error", (error) => reject(unavailable(errnoOf(error) ?? error.message)));
    request.end(body);
    return await promise;
  }
}

/** An API server that does not know audiences answers without them: that is a no. */
function podOf(text: string, audience: string): ReviewedPod | null {
  let answer: z.infer<typeof Answer>;
  try {
    answer = parseJson("a TokenReview", Answer, text);
  } catch (error) {
    throw unavailable(`its answer makes no sense: ${messageOf(error)}`);
  }
  const { authenticated, audiences = [], user } = answer.status;
  if (authenticated !== true || user === undefined || !audiences.includes(audience)) return null;
  const [, namespace, serviceAccount] =
    /^system:serviceaccount:([a-z0-9.-]+):([a-z0-9.-]+)$/.exec(user.username) ?? [];
  const [pod] = user.extra?.[POD_NAME] ?? [];
  const [uid] = user.extra?.[POD_UID] ?? [];
  if (namespace === undefined || serviceAccount === undefined) return null;
  if (pod === undefined || uid === undefined || uid === "") return null;
  return { namespace, serviceAccount, pod, uid };
}

function unavailable(
  why: string,
  fix = "look at the API server; the container tries again",
): PlatformError {
  return new PlatformError("unavailable", `Cannot ask the API server whose a token is: ${why}`, {
    retryable: true,
    fix,
  });
}
