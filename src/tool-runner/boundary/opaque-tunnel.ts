import type { Destination } from "./allow-list.ts";
import { dial } from "./dial.ts";
import type { RequestMeter } from "./request-record.ts";
import type { Spending } from "./spending.ts";
import { Wire, WireClosed } from "./wire.ts";

const IDLE_MS = 10 * 60_000;

/**
 * Carries the bytes of a CONNECT to a host that is declared opaque, unread: no credential is put in and nothing is masked. The
 * address is vetted as for every other host. Resolves when either side is done; throws a `Refusal` when it cannot begin.
 */
export async function passOpaque(
  client: Wire,
  { rule }: Destination,
  meter: RequestMeter,
  spending: Spending,
  signal: AbortSignal,
): Promise<void> {
  using _open = spending.begin();
  const { host, address, port = 443 } = rule;
  const isPrivate = rule.private === true;
  const target = { host, port, private: isPrivate, address, secureContext: null };
  const upstream = new Wire(await dial(target, signal));
  const end = (): void => {
    client.socket.destroy();
    upstream.socket.destroy();
  };
  signal.addEventListener("abort", end, { once: true });
  try {
    meter.status = 200;
    await client.write("HTTP/1.1 200 Connection Established\r\n\r\n");
    await Promise.race([
      carry(client, upstream, (bytes) => {
        meter.bytesUp += bytes;
        spending.up(bytes);
      }),
      carry(upstream, client, (bytes) => {
        meter.bytesDown += bytes;
        spending.down(bytes);
      }),
    ]);
    meter.finish("allowed_without_credential");
  } catch (error) {
    if (!(error instanceof WireClosed)) throw error;
    meter.finish(signal.aborted ? "refused_ended" : "allowed_without_credential");
  } finally {
    signal.removeEventListener("abort", end);
    end();
  }
}

/** Until `from` is closed. An end of one side alone goes on as an end, so that the other can finish what it says. */
async function carry(from: Wire, to: Wire, count: (bytes: number) => void): Promise<void> {
  for (let bytes = await from.read(IDLE_MS); bytes !== null; bytes = await from.read(IDLE_MS)) {
    count(bytes.length);
    await to.write(bytes);
  }
  to.socket.end();
  await to.ended;
}
