import { spawnSync } from "node:child_process";
import type { WebSocket } from "ws";
import { Backoff } from "../kit/backoff.ts";
import { parseJson } from "../kit/json-lines.ts";
import { PlatformError } from "../kit/platform-error.ts";
import { ViewerFilter } from "../kit/viewer-filter.ts";
import { AttachMessage } from "../protocol/agentlet-link.ts";
import type { GrantId } from "../protocol/ids.ts";
import { CloseCode } from "../protocol/recording-link.ts";
import type { ManagerClient } from "./client.ts";
import type { TerminalOutput } from "./output.ts";
import { PrefixKeys } from "./prefix-keys.ts";
import { GIVE_BACK_TITLE, KEEP_TITLE, TerminalModes } from "./terminal-modes.ts";

export interface ViewOptions {
  readonly run: string;
  /** the shell to show instead of the agent's own terminal */
  readonly shell?: GrantId;
  readonly write: boolean;
  /** null: nothing is typed, and no terminal changes its mode */
  readonly stdin: NodeJS.ReadStream | null;
  readonly stdout: TerminalOutput;
  /** stream from this byte of output on; null: the screen as it is now */
  readonly from: number | null;
  /** the manager as it is now; null while none answers */
  findManager(): Promise<ManagerClient | null>;
  /** the person asked to stop the run */
  onStop(): void;
}

export type ViewResult =
  | { readonly kind: "detached" }
  /** the terminal of the run is closed, or the caller's signal was aborted */
  | { readonly kind: "ended" }
  /** this window was closed for a reason, and the terminal goes on */
  | { readonly kind: "closed"; readonly reason: string };

/** The keys of the viewer, for the line that is printed at start. */
export const KEYS = "Ctrl-] d detaches, Ctrl-] k stops the run";

/** Shows the terminal of a run in this one, across restarts of the manager. The terminal is as before when it returns. */
export async function viewTerminal(options: ViewOptions, signal: AbortSignal): Promise<ViewResult> {
  const { stdin, stdout } = options;
  const modes = new TerminalModes();
  const keys = new PrefixKeys();
  const over = Promise.withResolvers<ViewResult>();
  const done = new AbortController();
  const until = AbortSignal.any([signal, done.signal]);
  const view: View = {
    options,
    modes,
    filter: new ViewerFilter(),
    socket: null,
    offset: options.from,
    pasteEnds: null,
  };
  const hasKeys = stdin?.isTTY === true && stdout.isTTY === true;
  if (hasKeys) markPastes(view);
  const onAbort = (): void => over.resolve({ kind: "ended" });
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();

  let flushing: NodeJS.Timeout | undefined;
  const onData = (bytes: Buffer): void => {
    const { input, action } = keys.push(bytes, modes.marksPastes);
    clearTimeout(flushing);
    if (keys.isWaiting)
      flushing = setTimeout(() => {
        const late = keys.flush();
        if (options.write) send(view, late);
      }, ESCAPE_MS);
    if (options.write) send(view, input);
    // Without --write nothing is typed into the program, so Ctrl-C is free to mean: enough.
    const isEnough =
      action === "detach" || (!options.write && (input.includes(3) || input.equals(Q)));
    if (isEnough) over.resolve({ kind: "detached" });
    if (action === "stop") options.onStop();
  };
  const onResize = (): void => sendSize(view);
  // The other end of the terminal is gone: nobody looks any more.
  const onGone = (): void => over.resolve({ kind: "detached" });
  const wasRaw = stdin?.isRaw === true;
  if (stdin?.isTTY === true) {
    stdin.setRawMode(true);
    // Node's raw mode still turns every \n into \r\n on its way out; a full-screen program means them apart. What Node
    // restores later includes this.
    spawnSync("stty", ["-opost"], { stdio: ["inherit", "ignore", "ignore"] });
    stdin.on("data", onData);
    stdin.once("end", onGone);
    stdin.once("error", onGone);
    stdin.resume();
  }
  stdout.on("resize", onResize);
  if (stdout.isTTY === true) stdout.write(KEEP_TITLE);
  try {
    const kept = keepAttached(view, until).then(
      (ended) => over.resolve(ended),
      (error: unknown) => over.reject(error),
    );
    const result = await over.promise;
    done.abort();
    await kept;
    return result;
  } finally {
    done.abort();
    signal.removeEventListener("abort", onAbort);
    stdout.off("resize", onResize);
    if (stdin?.isTTY === true) {
      stdin.off("data", onData).off("end", onGone).off("error", onGone);
      stdin.pause();
      if (!stdin.destroyed) stdin.setRawMode(wasRaw);
    }
    clearTimeout(flushing);
    const restore = `${modes.restore()}${hasKeys ? MARK_NO_PASTES : ""}${GIVE_BACK_TITLE}`;
    if (stdout.isTTY === true && !stdout.destroyed) stdout.write(restore);
  }
}

interface View {
  readonly options: ViewOptions;
  readonly modes: TerminalModes;
  readonly filter: ViewerFilter;
  /** up to which of `modes.pasteEnds` pastes are marked all the same; null: nobody pastes */
  pasteEnds: number | null;
  socket: WebSocket | null;
  /** the next byte of output this terminal needs; null before the first snapshot */
  offset: number | null;
}

const Q = Buffer.from("q");
/** An Escape that is the beginning of another key is followed by the rest sooner. */
const ESCAPE_MS = 25;
/** Marks of a paste are for us as well: what is pasted is never searched for Ctrl-]. */
const MARK_PASTES = "\u001B[?2004h";
const MARK_NO_PASTES = "\u001B[?2004l";
/** Typed and on its way; beyond it a person's terminal is not read, and their keys wait there. */
const MAX_TYPED_BYTES = 8 * 1024 * 1024;

/** Attaches again and again until the terminal of the run, or this window, is closed. Rejects when the manager refuses for good. */
async function keepAttached(view: View, signal: AbortSignal): Promise<ViewResult> {
  const backoff = new Backoff({ minMs: 50, maxMs: 2000 });
  while (!signal.aborted) {
    const client = await view.options.findManager();
    if (client !== null && !signal.aborted) {
      const before = view.offset;
      const ended = await attachOnce(view, client, signal);
      if (ended !== null) return ended;
      if (view.offset !== before) backoff.startOver();
    }
    await backoff.wait(signal).catch(() => {});
  }
  return { kind: "ended" };
}

/** One connection, from opening to closing. Null when it is to be opened again. */
async function attachOnce(
  view: View,
  client: ManagerClient,
  signal: AbortSignal,
): Promise<ViewResult | null> {
  const { run, write, shell } = view.options;
  const socket = client.attach(run, {
    write,
    from: view.offset,
    ...(shell === undefined ? {} : { shell }),
  });
  const closed = Promise.withResolvers<ViewResult | null>();
  const onAbort = (): void => socket.terminate();
  signal.addEventListener("abort", onAbort, { once: true });
  let ended: ViewResult | null = null;
  socket.on("open", () => {
    view.socket = socket;
    sendSize(view);
  });
  socket.on("message", (data: Buffer, isBinary) => {
    if (isBinary) showOutput(view, data);
    else ended ??= showMessage(view, data.toString("utf8"), socket);
  });
  socket.on("error", () => {});
  socket.on("unexpected-response", (_request, response) => {
    response.resume();
    if (response.statusCode === 401 || response.statusCode === 404) closed.reject(refusal(run));
    socket.terminate();
  });
  socket.on("close", (code) => {
    if (code === CloseCode.unauthorized || code === CloseCode.notFound) closed.reject(refusal(run));
    else closed.resolve(ended);
  });
  try {
    return await closed.promise;
  } finally {
    signal.removeEventListener("abort", onAbort);
    view.socket = null;
    if (!signal.aborted && view.options.stdin?.isPaused() === true) view.options.stdin.resume();
  }
}

function refusal(run: string): PlatformError {
  return new PlatformError("attach_refused", `Manager refuses the terminal of run "${run}"`, {
    fix: "see agentkube ps for the runs",
  });
}

function showOutput(view: View, message: Buffer): void {
  if (message.length < 8) return;
  const offset = Number(message.readBigUInt64LE(0));
  // After a reconnect the stream may begin a little before what is already shown.
  const known = Math.max(0, (view.offset ?? offset) - offset);
  const bytes = message.subarray(8 + known);
  if (bytes.length === 0) return;
  view.offset = offset + message.length - 8;
  show(view, bytes);
}

/** How the view is over, when the message says so; else null. */
function showMessage(view: View, text: string, socket: WebSocket): ViewResult | null {
  const message = parseJson("a message of the terminal", AttachMessage, text);
  if (message.kind === "snapshot") {
    view.offset = message.offset;
    // The stream before it may have been cut within a sequence, which ends here; and what it has changed is undone, since a snapshot is
    // for a terminal that nobody has changed.
    if (message.data !== "")
      show(view, Buffer.from(`\u001B\\${view.modes.restore()}${message.data}`));
  }
  // What was typed into the gap is lost; the bell says so without touching the screen.
  if (message.kind === "waiting" && message.message.startsWith("Not delivered"))
    show(view, Buffer.from("\u0007"));
  if (message.kind !== "ended") return null;
  socket.close(1000);
  return message.goesOn === true ? { kind: "closed", reason: message.reason } : { kind: "ended" };
}

/** Writes to the terminal. For a terminal, a file and a pipe this returns when the bytes are taken. */
function show(view: View, bytes: Buffer): void {
  const { stdout } = view.options;
  // The agentlet has filtered already. What reaches this terminal shall not depend on a machine far away.
  view.filter.push(bytes);
  view.modes.push(bytes);
  if (!stdout.destroyed) stdout.write(bytes);
  if (view.pasteEnds !== null && view.pasteEnds !== view.modes.pasteEnds) markPastes(view);
}

/** Has pastes marked, again when the program said no. */
function markPastes(view: View): void {
  const { stdout } = view.options;
  if (!view.filter.isBetween || stdout.destroyed) return;
  view.pasteEnds = view.modes.pasteEnds;
  stdout.write(MARK_PASTES);
}

/** Passes on what was typed. While much of it is on its way, no more is read; what cannot be passed on rings the bell. */
function send(view: View, bytes: Buffer): void {
  const { socket, options } = view;
  if (bytes.length === 0) return;
  if (socket === null || socket.readyState !== socket.OPEN)
    return show(view, Buffer.from("\u0007"));
  socket.send(bytes, () => {
    if (socket.bufferedAmount <= MAX_TYPED_BYTES && options.stdin?.isPaused() === true)
      options.stdin.resume();
  });
  if (socket.bufferedAmount > MAX_TYPED_BYTES) options.stdin?.pause();
}

/** The largest terminal that a program is given; a larger window shows it in its corner. */
const MAX_CELLS = 1000;

function sendSize(view: View): void {
  const { socket } = view;
  const { columns = 0, rows = 0 } = view.options.stdout;
  const isKnown = columns > 0 && rows > 0;
  if (!view.options.write || !isKnown || socket === null || socket.readyState !== socket.OPEN)
    return;
  const size = { cols: Math.min(columns, MAX_CELLS), rows: Math.min(rows, MAX_CELLS) };
  socket.send(JSON.stringify({ kind: "resize", ...size } satisfies AttachMessage));
}
