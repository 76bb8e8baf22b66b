import type { RawData, WebSocket } from "ws";
import type * as z from "zod";
import { parseJson } from "../kit/json-lines.ts";
import type { Log } from "../kit/log.ts";
import { messageOf, PlatformError } from "../kit/platform-error.ts";
import { CloseCode } from "../protocol/recording-link.ts";
import { ProtocolMismatchError, requireProtocol } from "../protocol/version.ts";
import type { Counters } from "./counters.ts";
import type { Role, RoleLink } from "./run.ts";
import { closeSocket } from "./socket.ts";

const HELLO_MS = 5000;
/** Bytes of messages that wait to be handled: above the first the socket is not read, below the second it is again. */
const HIGH_BYTES = 2 * 1024 * 1024;
const LOW_BYTES = 512 * 1024;

interface Hello {
  kind: "hello";
  protocol: number;
  epoch: number;
  /** what a recorder has; others say none */
  bytes?: number;
}

/** What a role's room does with its messages. They are handled one after the other. */
export interface LinkHandler<Message> {
  readonly role: Role;
  readonly schema: z.ZodType<Message | Hello>;
  /** Before the link counts as this run's. Throws `LinkRefusal` for one that has to come back later. */
  admit?(hello: Hello): void;
  /** The link is this run's link of the role now. */
  welcome(): Promise<void>;
  message(message: Message): Promise<void> | void;
  /** Throws `PlatformError` `bad_message` for bytes that make no sense. */
  binary(bytes: Buffer): Promise<void> | void;
  closed(): void;
}

/** Thrown by a handler to close the link with a code of `CloseCode`. */
export class LinkRefusal extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Where the connection of a role is held: a run, or a shell of one. */
export interface LinkSeat {
  readonly id: string;
  readonly links: Partial<Record<Role, RoleLink | null>>;
  readonly absentSince: Partial<Record<Role, number | null>>;
  /** the highest epoch seen of this role */
  epochOf(role: Role): number;
  setEpoch(role: Role, epoch: number): Promise<void>;
}

/** Serves the connection of a role whose token was checked: hello first, epoch fenced, the newest connection wins. */
export function serveLink<Message extends { kind: string }>(
  socket: WebSocket,
  run: LinkSeat,
  handler: LinkHandler<Message>,
  { log, counters }: { log: Log; counters: Counters },
): void {
  const { role } = handler;
  let greeted = false;
  let over = false;
  let waitingBytes = 0;
  const waiting: { data: Buffer; binary: boolean }[] = [];
  const turn: { handling: Promise<void> | null } = { handling: null };

  const link: RoleLink = {
    close(code, reason) {
      over = true;
      closeSocket(socket, code, reason);
    },
    async idle() {
      while (turn.handling !== null) await turn.handling;
    },
  };
  const helloTimer = setTimeout(
    () => refuse(CloseCode.badMessage, "No hello within 5 s"),
    HELLO_MS,
  );

  function refuse(code: number, reason: string): void {
    if (code === CloseCode.badMessage || code === CloseCode.tooLarge) counters.badMessages += 1;
    if (code === CloseCode.busy) counters.deferred += 1;
    else log.warn({ run: run.id, role, code, reason }, "link closed by the manager");
    link.close(code, reason);
  }

  async function greet(hello: Hello): Promise<void> {
    // Taken for a newer connection, it would fence itself.
    if (greeted) throw new LinkRefusal(CloseCode.badMessage, "Expected one hello, got another");
    requireProtocol(`the ${role}`, hello.protocol);
    const known = run.epochOf(role);
    if (hello.epoch < known)
      throw new LinkRefusal(CloseCode.fenced, `Epoch ${hello.epoch} is over, ${known} is current`);
    clearTimeout(helloTimer);
    handler.admit?.(hello);
    greeted = true;
    run.links[role]?.close(CloseCode.fenced, "Replaced by a newer connection");
    run.links[role] = link;
    run.absentSince[role] = null;
    await run.setEpoch(role, hello.epoch);
    await handler.welcome();
  }

  async function handle(data: Buffer, binary: boolean): Promise<void> {
    if (binary) {
      if (!greeted) throw new LinkRefusal(CloseCode.badMessage, "Bytes before the hello");
      return await handler.binary(data);
    }
    const message = parseJson(`a message of the ${role}`, handler.schema, data.toString("utf8"));
    if (isHello(message)) return await greet(message);
    if (!greeted) throw new LinkRefusal(CloseCode.badMessage, "Expected a hello first");
    await handler.message(message);
  }

  async function work(): Promise<void> {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
      // After a close nothing more is taken: a successor may be writing.
      if (over) break;
      try {
        await handle(item.data, item.binary);
      } catch (error) {
        fail(error);
      }
      waitingBytes -= item.data.length;
      if (waitingBytes < LOW_BYTES && socket.isPaused && !over) socket.resume();
    }
    waiting.length = 0;
    turn.handling = null;
  }

  function fail(error: unknown): void {
    if (error instanceof LinkRefusal) return refuse(error.code, error.message);
    if (error instanceof ProtocolMismatchError)
      return refuse(CloseCode.protocolMismatch, error.message);
    if (error instanceof PlatformError && error.code === "bad_message")
      return refuse(CloseCode.badMessage, error.message);
    log.error({ run: run.id, role, err: error }, "message of a link could not be kept");
    refuse(CloseCode.unavailable, `The manager cannot keep it: ${messageOf(error)}`);
  }

  socket.on("message", (data: RawData, binary: boolean) => {
    if (over) return;
    const bytes = asBuffer(data);
    waitingBytes += bytes.length;
    waiting.push({ data: bytes, binary });
    if (waitingBytes > HIGH_BYTES) socket.pause();
    turn.handling ??= work();
  });
  socket.on("error", (error) => {
    counters.badMessages += 1;
    log.warn({ run: run.id, role, err: error }, "link failed");
  });
  socket.once("close", () => {
    clearTimeout(helloTimer);
    if (run.links[role] === link) {
      run.links[role] = null;
      run.absentSince[role] = performance.now();
    }
    handler.closed();
  });
}

/** ws gives one Buffer unless told otherwise; the other forms are joined. */
export function asBuffer(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}

function isHello(message: { kind: string }): message is Hello {
  return message.kind === "hello";
}
