import type { NetworkRule } from "../../protocol/tool-manifest.ts";
import { upstreamContext } from "./trust.ts";
import { UpstreamPool } from "./upstream-pool.ts";

/** The upstream connections of one call, a pool for each rule it uses. */
export class CallUpstreams {
  readonly #pools = new Map<NetworkRule, { plain?: UpstreamPool; tls?: UpstreamPool }>();

  poolFor(rule: NetworkRule, isTls: boolean): UpstreamPool {
    const pools = this.#pools.get(rule) ?? {};
    this.#pools.set(rule, pools);
    const kind = isTls ? "tls" : "plain";
    pools[kind] ??= new UpstreamPool({
      host: rule.host,
      port: rule.port ?? 443,
      private: rule.private === true,
      address: rule.address,
      secureContext: isTls ? upstreamContext(rule.ca?.inline) : null,
    });
    return pools[kind];
  }

  /** Ends every upstream connection at once. */
  destroy(): void {
    for (const { plain, tls } of this.#pools.values()) {
      plain?.destroy();
      tls?.destroy();
    }
    this.#pools.clear();
  }
}
