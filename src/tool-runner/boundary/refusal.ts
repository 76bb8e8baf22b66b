import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { STATUS_CODES } from "node:http";
import { PlatformError } from "../../kit/platform-error.ts";
import type { BoundaryVerdict } from "../../protocol/audit.ts";

/** A request that is not carried out, with the answer its sender gets. The text is ours: nothing of an upstream is in it. */
export class Refusal extends PlatformError {
  readonly status: number;
  readonly verdict: BoundaryVerdict;

  constructor(
    status: number,
    verdict: BoundaryVerdict,
    code: string,
    message: string,
    fix?: string,
  ) {
    super(code, message, fix === undefined ? {} : { fix });
    this.status = status;
    this.verdict = verdict;
  }
}

/** How long, and how much, of a refused request's body is read so that its sender sees the answer and not a reset. */
const DRAIN_MS = 500;
const DRAIN_BYTES = 1024 * 1024;

/** Answers a refused request and closes its connection: nothing that follows on it is looked at. `body`: JSON in another shape. */
export function replyRefused(
  refusal: Refusal,
  req: IncomingMessage,
  res: ServerResponse,
  body = bodyOf(refusal),
): void {
  if (res.headersSent) {
    res.destroy();
    return;
  }
  const send = () => {
    clearTimeout(timer);
    if (!res.headersSent && !res.destroyed)
      res.writeHead(refusal.status, headersOf(refusal, body)).end(body);
  };
  const timer = setTimeout(send, DRAIN_MS);
  let drained = 0;
  req.on("data", (chunk: Buffer) => {
    drained += chunk.length;
    if (drained > DRAIN_BYTES) send();
  });
  req.once("end", send);
  req.once("close", send);
  req.resume();
  if (req.readableEnded) send();
}

/** Answers on a bare socket, after CONNECT or bytes that are no HTTP, and closes it. */
export function refuseSocket(refusal: Refusal, socket: Socket): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  socket.end(answerText(refusal), () => socket.destroy());
}

/** The whole answer that a refused request gets, as text of a closing connection. */
export function answerText(refusal: Refusal): string {
  const body = bodyOf(refusal);
  const headers = Object.entries(headersOf(refusal, body)).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  const status = `${refusal.status} ${STATUS_CODES[refusal.status] ?? "Refused"}`;
  return `HTTP/1.1 ${status}\r\n${headers.join("")}\r\n${body}`;
}

/** The shape that the model providers' clients read too: `error.type` and `error.message`. */
function bodyOf(refusal: Refusal): string {
  const { code, message, fix } = refusal;
  return `${JSON.stringify({ type: "error", error: { type: code, code, message, fix } })}\n`;
}

function headersOf(refusal: Refusal, body: string): Record<string, string | number> {
  return {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    "x-agentkube-refused": refusal.code,
    connection: "close",
  };
}
