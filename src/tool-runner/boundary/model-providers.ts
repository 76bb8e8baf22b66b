import type { ModelEndpoint } from "../../protocol/agent-manifest.ts";
import type { RunSpec } from "../../protocol/run-spec.ts";
import { type ModelProvider, providerOf } from "../../protocol/runtimes.ts";

/** A path that is open; `answers`: it makes the model answer, which is counted. */
export interface Route {
  method: "GET" | "POST";
  path: RegExp;
  answers?: true;
}

/** What the gateway knows of a model API: where it is, which of its paths are open, and how its key is shown. */
export interface Provider {
  name: ModelProvider;
  baseUrl: string;
  routes: readonly Route[];
  /** header name and value; `previous` is what the client sent under that name */
  authorize: (key: string) => [string, string];
}

const MODEL_ID = "[A-Za-z0-9][A-Za-z0-9._:@-]{0,199}";

export const providers: Readonly<Record<ModelProvider, Provider>> = {
  anthropic: {
    name: "anthropic",
    baseUrl: "https://api.anthropic.com",
    routes: [
      { method: "POST", path: /^\/v1\/messages$/, answers: true },
      { method: "POST", path: /^\/v1\/messages\/count_tokens$/ },
      { method: "GET", path: new RegExp(`^/v1/models(?:/${MODEL_ID})?$`) },
    ],
    authorize: (key) =>
      isOauthToken(key) ? ["Authorization", `Bearer ${key}`] : ["X-Api-Key", key],
  },
  openai: {
    name: "openai",
    baseUrl: "https://api.openai.com",
    routes: [
      { method: "POST", path: /^\/v1\/(?:responses|chat\/completions)$/, answers: true },
      { method: "GET", path: new RegExp(`^/v1/models(?:/${MODEL_ID})?$`) },
    ],
    authorize: (key) => ["Authorization", `Bearer ${key}`],
  },
  google: {
    name: "google",
    baseUrl: "https://generativelanguage.googleapis.com",
    routes: [
      {
        method: "POST",
        path: /^\/v1(?:beta)?\/models\/[A-Za-z0-9._-]{1,200}:(?:generateContent|streamGenerateContent)$/,
        answers: true,
      },
      { method: "POST", path: /^\/v1(?:beta)?\/models\/[A-Za-z0-9._-]{1,200}:countTokens$/ },
      { method: "GET", path: /^\/v1(?:beta)?\/models(?:\/[A-Za-z0-9._-]{1,200})?$/ },
    ],
    authorize: (key) => ["X-Goog-Api-Key", key],
  },
};

/** Anthropic's OAuth tokens go as Bearer and need this beta named; its API keys go as x-api-key. */
export const OAUTH_BETA = "oauth-2025-04-20";

export function isOauthToken(key: string): boolean {
  return key.startsWith("sk-ant-oat");
}

/**
 * The provider that the run's key belongs to; the key is never sent to another. Declared, else the runtime's own, else told by the
 * form of the key. Null (any path, one upstream) only when the run names an endpoint of its own and nothing tells the provider.
 */
export function providerOfRun(spec: RunSpec, key: string): ModelProvider | null {
  const { model, runtime } = spec.agent;
  if (model?.provider !== undefined) return model.provider;
  const own = providerOf(runtime);
  if (own !== null) return own;
  if (key.startsWith("sk-ant-")) return "anthropic";
  if (key.startsWith("AIza")) return "google";
  if (key.startsWith("sk-")) return "openai";
  return spec.modelEndpoint === null ? "anthropic" : null;
}

/** Joins the endpoint's own path and a provider's path. A `/v1` at the seam is written once. */
export function upstreamPath(base: URL, path: string): string {
  const prefix = base.pathname.replace(/\/+$/, "");
  const version = /\/v1(?:beta)?$/.exec(prefix)?.[0];
  return version !== undefined && path.startsWith(`${version}/`)
    ? prefix + path.slice(version.length)
    : prefix + path;
}

/** Loopback that is named as such needs no `private: true`; every other private address does. */
export function isPrivateEndpoint(endpoint: ModelEndpoint): boolean {
  const { hostname } = new URL(endpoint.url);
  return endpoint.private === true || /^(?:localhost|127\.0\.0\.1|\[::1\])$/.test(hostname);
}
