import { randomBytes } from "node:crypto";
import type { BoundaryAnswer, BoundaryQuestion } from "./boundary-host.ts";
import { ask, forked } from "./forked.ts";
import type { ClientAnswer, ClientQuestion } from "./https-client.ts";
import type { UpstreamAnswer, UpstreamQuestion } from "./https-upstream.ts";
import { median } from "./measure.ts";
import { ratioRow } from "./row.ts";
import type { Row } from "./row.ts";

const HOST = "api.bench.internal";
/** Together with those that do not count, below the boundary's limit of 1,000 requests for one call. */
const KEPT_TURNS = 600;
const NEW_TURNS = 120;
/** Rounds of `sideBySide` times the turns in each that do not count. */
const UNCOUNTED = 8;
const GOAL = { atMost: 2 };

/**
 * A request through the boundary (TLS intercepted, credential put in, response scanned) against the same request direct. Client,
 * boundary and upstream are processes of their own; the client is outside a sandbox.
 */
export async function boundaryRows(): Promise<Row[]> {
  const token = randomBytes(30).toString("base64url");
  await using upstreamHost = forked(new URL("https-upstream.ts", import.meta.url));
  await using boundaryHost = forked(new URL("boundary-host.ts", import.meta.url));
  await using client = forked(new URL("https-client.ts", import.meta.url));
  const upstream = await ask<UpstreamAnswer>(upstreamHost.child, {
    host: HOST,
    token,
  } satisfies UpstreamQuestion);
  // A new connection is the first of its call, so that its way to the upstream is new, too.
  const boundary = await ask<BoundaryAnswer>(boundaryHost.child, {
    host: HOST,
    upstream,
    token,
    calls: 1 + NEW_TURNS + UNCOUNTED,
  } satisfies BoundaryQuestion);
  const times = await ask<ClientAnswer>(client.child, {
    host: HOST,
    token,
    upstream,
    boundary,
    keptTurns: KEPT_TURNS,
    newTurns: NEW_TURNS,
  } satisfies ClientQuestion);
  return [
    ratioRow(
      "HTTPS request through the boundary, kept alive, p50, client outside a sandbox",
      median(times.boundary),
      "ms",
      { name: "direct", value: median(times.direct) },
      GOAL,
    ),
    ratioRow(
      "HTTPS request through the boundary, new connection, p50, client outside a sandbox",
      median(times.newBoundary),
      "ms",
      { name: "direct", value: median(times.newDirect) },
      GOAL,
    ),
  ];
}
