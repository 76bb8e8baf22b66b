// A range whose tools have credentials for a hostile upstream.
import { randomBytes } from "node:crypto";
import path from "node:path";
import { type Attack, type AttackRange, openRange, type RangeOptions } from "./attack-range.ts";
import { type HostileUpstream, openHostileUpstream, UPSTREAM_HOST } from "./hostile-upstream.ts";
import { repository } from "./lab.ts";

/** One connection of a hostile client; see test/fixtures/hostile-client.ts. */
export interface Exchange {
  connect?: string | null;
  sni?: string | null;
  alpn?: string[];
  send: string | string[];
  waitMs?: number;
  times?: number;
}

export interface Spoken {
  /** what came back, an entry for each connection */
  said: string[];
  attack: Attack;
}

export interface BoundaryRange extends AsyncDisposable {
  readonly range: AttackRange;
  readonly upstream: HostileUpstream;
  /** `host:port` of the upstream */
  readonly authority: string;
  /** One GET in TLS inside CONNECT, as a tool makes it. */
  get(
    target: string,
    fields?: string[],
    options?: { tool?: string; waitMs?: number },
  ): Promise<Spoken>;
  speak(exchanges: Exchange[], tool?: string): Promise<Spoken>;
  /** Sweeps, with the upstream's connections. */
  sweep(): Promise<void>;
}

/** Random, and with all that encodings change. */
export const CANARIES = {
  plain: randomBytes(32).toString("base64url"),
  odd: `c4+/=%"\\'<&>ü-${randomBytes(12).toString("hex")}`,
};

/** Opens both. `more`: further tools, and changes of the range. */
export async function openBoundaryRange(
  more: (upstream: HostileUpstream) => Partial<RangeOptions> = () => ({}),
): Promise<BoundaryRange> {
  const upstream = await openHostileUpstream();
  const authority = `${UPSTREAM_HOST}:${upstream.port}`;
  const { tools, ...rest } = more(upstream);
  const range = await openRange({
    secrets: { "plain/token": CANARIES.plain, "odd/token": CANARIES.odd },
    node: true,
    files: { "client.ts": path.join(repository, "test/fixtures/hostile-client.ts") },
    tools: {
      bound: boundTool(upstream, "plain", { header: "Authorization", format: "Bearer {{secret}}" }),
      odd: boundTool(upstream, "odd", { header: "Authorization", format: "Bearer {{secret}}" }),
      basic: boundTool(upstream, "odd", { basic: { username: "bot" } }),
      query: boundTool(upstream, "odd", { query: "key" }),
      ...tools,
    },
    ...rest,
  });
  const speak = async (exchanges: Exchange[], tool = "bound"): Promise<Spoken> => {
    const words = `'${JSON.stringify(exchanges).replaceAll("'", "'\\''")}'`;
    const attack = await range.attack(tool, `exec /opt/tool/node /opt/tool/client.ts ${words}`);
    const isWhole = attack.outcome === "completed" && attack.stdout.startsWith("[");
    return { attack, said: isWhole ? (JSON.parse(attack.stdout) as string[]) : [] };
  };
  return {
    range,
    upstream,
    authority,
    speak,
    async get(target, fields = [], { tool, waitMs } = {}) {
      const lines = [
        `GET ${target} HTTP/1.1`,
        `Host: ${authority}`,
        "Connection: close",
        ...fields,
      ];
      const send = `${lines.join("\r\n")}\r\n\r\n`;
      const wait = waitMs === undefined ? {} : { waitMs };
      return await speak([{ connect: authority, sni: UPSTREAM_HOST, send, ...wait }], tool);
    },
    async sweep() {
      await range.sweep({ upstreamPorts: [upstream.port] });
    },
    async [Symbol.asyncDispose]() {
      await range[Symbol.asyncDispose]();
      await upstream[Symbol.asyncDispose]();
    },
  };
}

/** The spec of a tool that may reach the upstream, and below /bound/ and /repos/acme/ with a credential. */
export function boundTool(upstream: HostileUpstream, secret: string, form: object): object {
  return {
    sandbox: { network: [networkRule(upstream)], timeout: "30s" },
    credentials: [
      {
        name: secret,
        secretRef: { name: secret, key: "token" },
        http: {
          hosts: [`${UPSTREAM_HOST}:${upstream.port}`],
          methods: ["GET", "POST"],
          paths: ["/bound/", "/repos/acme/{repo}"],
          ...form,
        },
      },
    ],
  };
}

export function networkRule({ port, caPem }: HostileUpstream): object {
  return { host: UPSTREAM_HOST, port, private: true, address: "127.0.0.1", ca: { inline: caPem } };
}
