// A tool that times HTTPS requests, in a sandbox or outside of one, so it brings all that it needs: `node tool-client.ts QUESTION`,
// JSON as `ToolClientQuestion`, gives a `ToolClientAnswer` on standard output.
import { once } from "node:events";
import net from "node:net";
import tls from "node:tls";

export interface ToolClientQuestion {
  host: string;
  /** of the upstream */
  port: number;
  /** of the boundary's proxy; null: straight to the upstream, with the token */
  proxyPort: number | null;
  caPem: string;
  token: string;
  turns: number;
}

/** Milliseconds of each request. */
export interface ToolClientAnswer {
  kept: number[];
  fresh: number[];
}

const WARM_UP = 200;
/** New connections take longer; so many kept turns for one of them. */
const KEPT_FOR_FRESH = 6;

const question = JSON.parse(process.argv[2] ?? "") as ToolClientQuestion;

async function connect(): Promise<tls.TLSSocket> {
  const { host, port, proxyPort, caPem: ca } = question;
  const socket = net.connect({ port: proxyPort ?? port, host: "127.0.0.1", noDelay: true });
  if (proxyPort !== null) {
    socket.write(`CONNECT ${host}:${port} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`);
    const [said] = (await once(socket, "data")) as [Buffer];
    if (!said.toString("latin1").startsWith("HTTP/1.1 200"))
      throw new Error(`Expected a tunnel, got ${said.toString("latin1")}`);
  }
  const secured = tls.connect({ socket, ca, servername: host, ALPNProtocols: ["http/1.1"] });
  await once(secured, "secureConnect");
  return secured;
}

async function request(socket: tls.TLSSocket): Promise<void> {
  const { host, port, proxyPort, token } = question;
  const proof = proxyPort === null ? `Authorization: Bearer ${token}\r\n` : "";
  socket.write(`GET /v1/items HTTP/1.1\r\nHost: ${host}:${port}\r\n${proof}\r\n`);
  let text = "";
  for (;;) {
    const [bytes] = (await once(socket, "data")) as [Buffer];
    text += bytes.toString("latin1");
    const head = text.indexOf("\r\n\r\n");
    if (head === -1) continue;
    const length = /^content-length: (\d+)/im.exec(text)?.[1];
    if (!text.startsWith("HTTP/1.1 200") || length === undefined)
      throw new Error(`Expected an answer with a length, got ${text.slice(0, 200)}`);
    if (text.length >= head + 4 + Number(length)) return;
  }
}

async function timeOf(work: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

const answer: ToolClientAnswer = { kept: [], fresh: [] };
const socket = await connect();
for (let turn = -WARM_UP; turn < question.turns; turn++) {
  const ms = await timeOf(() => request(socket));
  if (turn >= 0) answer.kept.push(ms);
}
for (let turn = -5; turn < question.turns / KEPT_FOR_FRESH; turn++) {
  const ms = await timeOf(async () => {
    const once = await connect();
    await request(once);
    once.destroy();
  });
  if (turn >= 0) answer.fresh.push(ms);
}
socket.destroy();
process.stdout.write(JSON.stringify(answer));
