import { connect } from "node:net";
import type { Socket } from "node:net";
import { parseJson } from "../kit/json-lines.ts";
import { PlatformError, messageOf } from "../kit/platform-error.ts";
import { RecorderReply } from "../protocol/frames.ts";
import { Challenge, macOf, type Proof } from "../protocol/proof.ts";
import { PROTOCOL, requireProtocol } from "../protocol/version.ts";

/** Until the recorder has welcomed us; after that the link's own patience counts. */
const OPENING_MS = 5000;
const MAX_LINE = 64 * 1024;

type Welcome = Extract<RecorderReply, { kind: "welcome" }>;

/** One proven and welcomed connection to the recorder. */
export interface RecorderConnection {
  readonly welcome: Welcome;
  /** Settles with the reason when the connection is over, for whatever reason. Never rejects. */
  readonly closed: Promise<string>;
  send(frame: Buffer): void;
  /** Hands on every reply after the welcome, also those that came before this was called. */
  onReply(listener: (reply: RecorderReply) => void): void;
  close(): void;
}

/** Connects, proves the agentlet's token, and waits for the welcome. An error that is not `retryable` is final. */
export async function openRecorderConnection(
  options: { socket: string; token: string; grant?: string },
  signal: AbortSignal,
): Promise<RecorderConnection> {
  const socket = connect({ path: options.socket });
  const closed = Promise.withResolvers<string>();
  const welcomed = Promise.withResolvers<Welcome>();
  const waiting: RecorderReply[] = [];
  let listener: ((reply: RecorderReply) => void) | undefined;
  let proven = false;
  welcomed.promise.catch(() => undefined);

  const take = (line: string) => {
    if (!proven) {
      const challenge = parseJson("the recorder's challenge", Challenge, line);
      requireProtocol("the recorder", challenge.protocol);
      proven = true;
      const { token, grant } = options;
      const mac = macOf(token, "agentlet", challenge.nonce, grant);
      const proof: Proof = { protocol: PROTOCOL, role: "agentlet", grant_id: grant, mac };
      socket.write(`${JSON.stringify(proof)}\n`);
      return;
    }
    const reply = parseJson("the recorder's reply", RecorderReply, line);
    if (reply.kind === "welcome") welcomed.resolve(reply);
    else if (reply.kind === "refused") welcomed.reject(refusal(reply));
    if (reply.kind === "welcome") return;
    if (listener === undefined) waiting.push(reply);
    else listener(reply);
  };
  readLines(socket, take, (error) => {
    welcomed.reject(
      error instanceof PlatformError
        ? error
        : new PlatformError("recorder_refused", messageOf(error), { cause: error }),
    );
    socket.destroy();
  });
  socket.on("error", (error) => closed.resolve(messageOf(error)));
  socket.on("close", () => {
    closed.resolve("connection closed");
    welcomed.reject(
      new PlatformError("recorder_away", "Recorder closed the connection", { retryable: true }),
    );
  });
  const abort = () => socket.destroy();
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  void closed.promise.then(() => signal.removeEventListener("abort", abort));
  const timer = setTimeout(() => socket.destroy(new Error("no welcome in time")), OPENING_MS);
  try {
    const welcome = await welcomed.promise;
    return {
      welcome,
      closed: closed.promise,
      send: (frame) => {
        if (socket.writable) socket.write(frame);
      },
      onReply: (next) => {
        listener = next;
        for (const reply of waiting.splice(0)) next(reply);
      },
      close: () => socket.destroy(),
    };
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function refusal(reply: Extract<RecorderReply, { kind: "refused" }>): PlatformError {
  // An earlier connection of ours may not have been noticed as dead yet.
  return new PlatformError(
    "recorder_refused",
    `Recorder refused the session (${reply.code}): ${reply.message}`,
    {
      retryable: reply.code === "producer_present" || reply.code === "spool_full",
    },
  );
}

/** Hands on whole lines; whatever is thrown there, or a line without end, goes to `onError`. */
function readLines(
  socket: Socket,
  take: (line: string) => void,
  onError: (error: unknown) => void,
): void {
  let held = "";
  socket.setEncoding("utf8");
  socket.on("data", (text: string) => {
    held += text;
    try {
      for (let end = held.indexOf("\n"); end !== -1; end = held.indexOf("\n")) {
        const line = held.slice(0, end);
        held = held.slice(end + 1);
        take(line);
      }
      if (held.length > MAX_LINE)
        throw new PlatformError("bad_message", `Expected a line of at most ${MAX_LINE} characters`);
    } catch (error) {
      onError(error);
    }
  });
}
