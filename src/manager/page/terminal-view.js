// A run's terminal, or a shell, in xterm.js: the screen as it is, what follows, and what is typed when typing was asked for.
import "./adopt-styles.js";
import { Unicode11Addon } from "./addon-unicode11.js";
import { Terminal } from "./xterm.js";
import { socketUrl } from "./api.js";

const HISTORY_ROWS = 5000;
const FONT_SIZE = 14;
/** around the screen, and its scroll bar */
const PADDING = 24;
const MAX_SENT = 64 * 1024;
/** Output that waits to be drawn; beyond it this window falls behind, and the manager sends it a new screen instead. */
const MAX_WAITING = 8 * 1024 * 1024;

/**
 * Attaches to `path` (`/v1/runs/RUN/attach` or that of a shell) and keeps attached across lost connections, until `signal` is aborted or
 * the terminal is over. `on.state(text, isOver)` hears how it stands.
 */
export function openTerminal(place, { path, write, on }, signal) {
  const terminal = new Terminal({
    // for the tables of characters
    allowProposedApi: true,
    fontFamily: "'JetBrains Mono', 'Cascadia Code', Menlo, Consolas, 'DejaVu Sans Mono', monospace",
    fontSize: FONT_SIZE,
    scrollback: HISTORY_ROWS,
    cursorBlink: write,
    disableStdin: !write,
    theme: { background: "#121314", foreground: "#d0d0d0" },
  });
  // As wide as they are in the emulator that the snapshot is from.
  terminal.loadAddon(new Unicode11Addon());
  terminal.unicode.activeVersion = "11";
  terminal.open(place);
  // The program's terminal belongs to the program: no link of it is followed, and no title is taken.
  const view = { terminal, socket: null, offset: null, waiting: 0, size: null, window: null };
  const resize = () => {
    view.window = windowSize(view, place);
    showWhole(view, place);
    sendSize(view, write);
  };
  const observer = new ResizeObserver(resize);
  observer.observe(place);
  if (write) {
    // A paste may be larger than a message may be.
    const send = (bytes) => {
      if (view.socket?.readyState !== WebSocket.OPEN) return;
      for (let at = 0; at < bytes.length; at += MAX_SENT)
        view.socket.send(bytes.subarray(at, at + MAX_SENT));
    };
    const encoder = new TextEncoder();
    terminal.onData((text) => send(encoder.encode(text)));
    terminal.onBinary((text) => send(Uint8Array.from(text, (c) => c.charCodeAt(0))));
    terminal.focus();
  }
  signal.addEventListener("abort", () => {
    observer.disconnect();
    view.socket?.close();
    terminal.dispose();
  });
  connect(view, { path, write, on, place }, signal, 250);
  return terminal;
}

function connect(view, options, signal, waitMs) {
  if (signal.aborted) return;
  const { path, write, on, place } = options;
  const from = view.offset === null ? `&history=${HISTORY_ROWS}` : `&from=${view.offset}`;
  const socket = new WebSocket(socketUrl(`${path}?write=${write ? 1 : 0}${from}`));
  socket.binaryType = "arraybuffer";
  view.socket = socket;
  let isOver = false;
  let next = waitMs;
  socket.addEventListener("open", () => {
    next = 250;
    on.state(write ? "You are typing into this terminal" : "Read-only", false);
    sendSize(view, write, true);
  });
  socket.addEventListener("message", ({ data }) => {
    if (typeof data !== "string") return showOutput(view, data, socket);
    const message = JSON.parse(data);
    if (message.kind === "snapshot") showSnapshot(view, message, place);
    if (message.kind === "waiting") on.state(message.message, false);
    if (message.kind === "ended") {
      isOver = true;
      on.state(message.reason, true);
    }
  });
  socket.addEventListener("close", ({ code, reason }) => {
    if (isOver || signal.aborted) return;
    if (code === 1000 || code === 4401 || code === 4404) return on.state(reason || "Closed", true);
    on.state("The manager is away; connecting again…", false);
    setTimeout(
      () => connect(view, options, signal, Math.min(next * 2, 5000)),
      next * Math.random(),
    );
  });
}

/** A new screen. An empty one says only that the stream goes on where this window was, or that the terminal has another size. */
function showSnapshot(view, { offset, cols, rows, data }, place) {
  view.offset = offset;
  view.size = { cols, rows };
  if (data !== "") view.terminal.reset();
  showWhole(view, place);
  if (data !== "") view.terminal.write(data);
}

function showOutput(view, data, socket) {
  const offset = Number(new DataView(data).getBigUint64(0, true));
  // After a reconnect the stream may begin a little before what is shown already.
  const known = Math.max(0, (view.offset ?? offset) - offset);
  const bytes = new Uint8Array(data, 8).subarray(known);
  if (bytes.length === 0) return;
  view.offset = offset + data.byteLength - 8;
  view.waiting += bytes.length;
  view.terminal.write(bytes, () => {
    view.waiting -= bytes.length;
  });
  if (view.waiting <= MAX_WAITING) return;
  // Drawing does not keep up: what waits is dropped with the connection, and the next one begins with a screen.
  view.offset = null;
  socket.close(4000, "this window draws too slowly");
}

/**
 * Shows the terminal in the size that it has, which is that of the window whose person typed last: in letters of the usual size where
 * it fits, else as large as fits.
 */
function showWhole(view, place) {
  const { terminal, size } = view;
  if (size === null) return;
  if (terminal.cols !== size.cols || terminal.rows !== size.rows)
    terminal.resize(size.cols, size.rows);
  if (view.cell === undefined || place.clientWidth === 0) return;
  const fits = (FONT_SIZE * (place.clientWidth - PADDING)) / (size.cols * view.cell.width);
  const fontSize = Math.max(6, Math.min(FONT_SIZE, Math.floor(fits * 2) / 2));
  if (fontSize !== terminal.options.fontSize) terminal.options.fontSize = fontSize;
}

/** How much of a terminal has room in this window, in letters of the usual size. */
function windowSize(view, place) {
  const { terminal } = view;
  const screen = place.querySelector(".xterm-screen")?.getBoundingClientRect();
  if (terminal.options.fontSize === FONT_SIZE && screen?.width > 0)
    view.cell = { width: screen.width / terminal.cols, height: screen.height / terminal.rows };
  if (view.cell === undefined || place.clientWidth === 0) return view.window;
  const clamp = (cells) => Math.min(1000, Math.max(2, Math.floor(cells)));
  return {
    cols: clamp((place.clientWidth - PADDING) / view.cell.width),
    rows: clamp((place.clientHeight - PADDING) / view.cell.height),
  };
}

function sendSize(view, write, isFirst = false) {
  const { window, sent } = view;
  if (!write || window === null || view.socket?.readyState !== WebSocket.OPEN) return;
  if (!isFirst && sent?.cols === window.cols && sent.rows === window.rows) return;
  view.sent = window;
  view.socket.send(JSON.stringify({ kind: "resize", ...window }));
}
