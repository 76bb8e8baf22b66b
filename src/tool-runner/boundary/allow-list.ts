import type { NetworkRule } from "../../protocol/tool-manifest.ts";
import type { Authority } from "./authority.ts";
import { Refusal } from "./refusal.ts";

/** Where a request goes: the rule that allows it, the host as it was named, and what is spoken upstream. */
export interface Destination {
  rule: NetworkRule;
  authority: Authority;
  isTls: boolean;
}

/** The hosts of one tool. Asked before any name is looked up. */
export class AllowList {
  readonly #tool: string;
  readonly #rules: readonly NetworkRule[];

  constructor(tool: string, rules: readonly NetworkRule[]) {
    this.#tool = tool;
    this.#rules = rules;
  }

  /** The rule for exactly this host and port. Throws a `Refusal` without one. */
  ruleOf(authority: Authority | null): NetworkRule {
    const rule = authority === null ? undefined : this.#find(authority);
    if (rule !== undefined) return rule;
    const named = authority === null ? "This target" : `${authority.host}:${authority.port}`;
    throw new Refusal(
      403,
      "refused_host",
      "host_refused",
      `${named} is not in the network of tool "${this.#tool}"`,
      "declare host and port in the tool's sandbox.network",
    );
  }

  /** What an absolute `http://` target means: port 80, where it is not declared, stands for the host's HTTPS port. */
  meant(authority: Authority | null): Authority | null {
    if (authority === null || authority.port !== 80 || this.#find(authority) !== undefined) {
      return authority;
    }
    return { ...authority, port: 443 };
  }

  /** Absolute form speaks plain HTTP to us; what is spoken upstream is never weaker than the rule says. */
  destinationOf(authority: Authority | null): Destination {
    if (authority === null) {
      throw new Refusal(
        400,
        "refused_ambiguous",
        "not_a_proxy_request",
        "Expected CONNECT host:port or an absolute http:// target with a lowercase host name",
      );
    }
    const rule = this.ruleOf(authority);
    return { rule, authority, isTls: !isPlainAllowed(rule) };
  }

  #find(authority: Authority): NetworkRule | undefined {
    return this.#rules.find(
      ({ host, port = 443 }) => host === authority.host && port === authority.port,
    );
  }
}

/** Plain HTTP is spoken upstream to port 80, and to other ports (but 443) of a host of one's own that names no authority. */
export function isPlainAllowed(rule: NetworkRule): boolean {
  const port = rule.port ?? 443;
  return port === 80 || (port !== 443 && rule.private === true && rule.ca === undefined);
}
