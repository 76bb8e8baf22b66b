import { randomBytes } from "node:crypto";
import { messageOf } from "../src/kit/platform-error.ts";
import type { BoundaryAnswer, BoundaryQuestion } from "./boundary-host.ts";
import { ask, forked } from "./forked.ts";
import type { ClientAnswer, ClientQuestion, Way } from "./https-client.ts";
import type { UpstreamAnswer, UpstreamQuestion } from "./https-upstream.ts";
import { median, quantile } from "./measure.ts";
import type { PeerAnswer, PeerQuestion } from "./peer-proxy.ts";
import { peerDir } from "./peer-dir.ts";
import { missingRow, peerRow, ratioRow } from "./row.ts";
import type { Row } from "./row.ts";
import type { SandboxedAnswer, SandboxedQuestion } from "./sandboxed-requests.ts";

/** A name that every resolver has, since not every peer can be told an address. */
const HOST = "localhost";
const KEPT_TURNS = 600;
const NEW_TURNS = 120;
const LOAD_MS = 700;
/** Of a client in a sandbox, which is another process in each round. */
const SANDBOXED = { turns: 300, rounds: 4 };
const EVENTS = 310;
/** Rounds of `sideBySide` times the turns in each that do not count. */
const UNCOUNTED = 8;
const GOAL = { atMost: 2 };
const WHERE = "client outside a sandbox";
const PEERS = ["sandbox-runtime", "mockttp"] as const;

/**
 * A request through the boundary (TLS intercepted, credential put in, response scanned) against the same request direct, and through
 * other projects' proxies that put the same header in. Client, proxies and upstream are processes of their own.
 */
export async function boundaryRows(): Promise<Row[]> {
  const token = randomBytes(30).toString("base64url");
  await using stack = new AsyncDisposableStack();
  const start = (name: string) => stack.use(forked(new URL(name, import.meta.url))).child;
  const upstream = await ask<UpstreamAnswer>(start("https-upstream.ts"), {
    host: HOST,
    token,
  } satisfies UpstreamQuestion);
  // A new connection is the first of its call, so that its way to the upstream is new, too.
  const boundary = await ask<BoundaryAnswer>(start("boundary-host.ts"), {
    host: HOST,
    upstream,
    token,
    calls: 2 * (1 + NEW_TURNS + UNCOUNTED),
  } satisfies BoundaryQuestion);
  const half = boundary.ports.length / 2;
  const { caPem } = boundary;
  const ways: Record<string, Way> = {
    ours: { ports: boundary.ports.slice(0, half), caPem },
    plain: { ports: boundary.ports.slice(half), caPem, plain: true },
  };
  const missing: Row[] = [];
  for (const peer of PEERS) {
    let dir: string;
    try {
      dir = peerDir(peer);
    } catch (error) {
      missing.push(missingRow(`HTTPS request through ${peer}`, messageOf(error)));
      continue;
    }
    const { port, caPem: peerCa } = await ask<PeerAnswer>(start("peer-proxy.ts"), {
      peer,
      dir,
      upstream,
      token,
    } satisfies PeerQuestion);
    ways[peer] = { ports: [port], caPem: peerCa };
  }
  const times = await ask<ClientAnswer>(start("https-client.ts"), {
    host: HOST,
    token,
    upstream,
    ways,
    keptTurns: KEPT_TURNS,
    newTurns: NEW_TURNS,
    loadMs: LOAD_MS,
    events: EVENTS,
  } satisfies ClientQuestion);
  const sandboxed = await ask<SandboxedAnswer>(start("sandboxed-requests.ts"), {
    host: HOST,
    upstream,
    token,
    ...SANDBOXED,
  } satisfies SandboxedQuestion);
  return [...rowsOf(times), ...sandboxedRows(sandboxed), ...missing];
}

function sandboxedRows({ sandboxed, direct }: SandboxedAnswer): Row[] {
  const row = (name: string, kind: "kept" | "fresh"): Row => {
    const peer = { name: "direct, outside a sandbox", value: median(direct[kind]) };
    return ratioRow(
      `HTTPS request from inside a sandbox, ${name}, p50`,
      median(sandboxed[kind]),
      "ms",
      peer,
      GOAL,
    );
  };
  return [
    row("kept alive", "kept"),
    row("new connection of a call whose way to the upstream is kept", "fresh"),
  ];
}

function rowsOf({ kept, fresh, load, events }: ClientAnswer): Row[] {
  const direct = (times: Record<string, number[]>, share = 0.5) => ({
    name: "direct",
    value: quantile(times["direct"] ?? [], share),
  });
  const rows = [
    ratioRow(
      `HTTPS request through the boundary, kept alive, p50, ${WHERE}`,
      median(kept["ours"] ?? []),
      "ms",
      direct(kept),
      GOAL,
    ),
    peerRow(`the same, p99`, quantile(kept["ours"] ?? [], 0.99), "ms", direct(kept, 0.99), null),
    ratioRow(
      `HTTPS request through the boundary, new connection, p50, ${WHERE}`,
      median(fresh["ours"] ?? []),
      "ms",
      direct(fresh),
      GOAL,
    ),
    peerRow(`the same, p99`, quantile(fresh["ours"] ?? [], 0.99), "ms", direct(fresh, 0.99), null),
    peerRow(
      "plain HTTP to the boundary, TLS upstream, kept alive, p50",
      median(kept["plain"] ?? []),
      "ms",
      direct(kept),
      null,
    ),
    peerRow(
      "plain HTTP to the boundary, TLS upstream, new connection, p50",
      median(fresh["plain"] ?? []),
      "ms",
      direct(fresh),
      null,
    ),
    peerRow(
      "requests through the boundary, 8 at once",
      load["ours"] ?? 0,
      "/s",
      { name: "direct", value: load["direct"] ?? 0 },
      null,
    ),
    peerRow(
      "event of a stream through the boundary, p50",
      median(events["ours"] ?? []),
      "ms",
      direct(events),
      null,
    ),
    peerRow(
      "the same, p99",
      quantile(events["ours"] ?? [], 0.99),
      "ms",
      direct(events, 0.99),
      null,
    ),
  ];
  for (const peer of PEERS.filter((name) => kept[name] !== undefined)) {
    rows.push(
      peerRow(
        `${peer}'s proxy, kept alive, p50`,
        median(kept[peer] ?? []),
        "ms",
        direct(kept),
        null,
      ),
      peerRow(
        `${peer}'s proxy, new connection, p50`,
        median(fresh[peer] ?? []),
        "ms",
        direct(fresh),
        null,
      ),
      peerRow(
        `${peer}'s proxy, 8 at once`,
        load[peer] ?? 0,
        "/s",
        { name: "direct", value: load["direct"] ?? 0 },
        null,
      ),
      peerRow(
        `${peer}'s proxy, event of a stream, p50`,
        median(events[peer] ?? []),
        "ms",
        direct(events),
        null,
      ),
    );
  }
  return rows;
}
