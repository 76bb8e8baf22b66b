import type { RunSpec } from "../../protocol/run-spec.ts";
import { isPrivateEndpoint, type Provider } from "./model-providers.ts";
import { Refusal } from "./refusal.ts";
import { upstreamContext } from "./trust.ts";
import { UpstreamPool } from "./upstream-pool.ts";

/** Where the model requests of a run go. */
export interface Upstream {
  provider: Provider;
  base: URL;
  pool: UpstreamPool;
}

/** Opens the way to the run's endpoint, or the provider's own. Throws a `Refusal` when the key would travel in the clear. */
export function openUpstream(provider: Provider, spec: RunSpec): Upstream {
  const endpoint = spec.modelEndpoint ?? { url: provider.baseUrl };
  const base = new URL(endpoint.url);
  const isTls = base.protocol === "https:";
  const isPrivate = isPrivateEndpoint(endpoint);
  if (!isTls && !isPrivate) {
    throw new Refusal(
      502,
      "refused_rule",
      "endpoint_needs_tls",
      "The model key is not sent over plain HTTP to a public endpoint",
      "use https in the model endpoint's url, or private: true for a host of your own",
    );
  }
  const pool = new UpstreamPool({
    host: base.hostname.replace(/^\[|\]$/g, ""),
    port: portOf(base),
    private: isPrivate,
    secureContext: isTls ? upstreamContext(endpoint.ca?.inline) : null,
  });
  return { provider, base, pool };
}

/** The host and port that the audit names, whether or not a request is let go. */
export function auditedHost(spec: RunSpec, provider: Provider | undefined): string {
  if (provider === undefined) return "-";
  const url = new URL(spec.modelEndpoint?.url ?? provider.baseUrl);
  return `${url.hostname}:${portOf(url)}`;
}

function portOf(url: URL): number {
  return url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
}
