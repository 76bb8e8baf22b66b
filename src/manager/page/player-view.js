// A session in asciinema-player: live, or from its beginning, whole or in segments.
import { getJson, socketUrl } from "./api.js";
import { patiently, pause } from "./connection.js";
import { h } from "./dom.js";

const LOOK_MS = 400;
const CURRENT_MS = 250;
const SPEEDS = [1, 2, 4, 8];
/** Width and height of a character by its font size, and what the player has around them. */
const CELL = { width: 0.602, height: 1.3333, edge: 1.2, bar: 2.4 };
/** A terminal of a few characters would fill the window with one letter. */
const LEAST = { cols: 40, rows: 8 };

function options() {
  return {
    fit: "both",
    preload: true,
    controls: true,
    terminalFontFamily:
      "'JetBrains Mono', 'Cascadia Code', Menlo, Consolas, 'DejaVu Sans Mono', 'Noto Sans Symbols 2', monospace",
    terminalFontSize: "14px",
    theme: "asciinema",
  };
}

/** The place has the shape of the terminal, as large as there is room. */
function shape(place, { cols, rows }) {
  const width = Math.max(cols, LEAST.cols) * CELL.width + CELL.edge;
  const height = Math.max(rows, LEAST.rows) * CELL.height + CELL.edge + CELL.bar;
  place.style.setProperty("--shape", String(width / height));
}

function keep(player, signal) {
  if (signal.aborted) player.dispose();
  else signal.addEventListener("abort", () => player.dispose(), { once: true });
}

/** Plays a session live. The manager is near: events are shown as they come, without a buffer. */
export function playLive({ place, size }, base, signal) {
  shape(place, size);
  const source = { driver: "websocket", url: socketUrl(`${base}/live`), bufferTime: 0 };
  const player = window.AsciinemaPlayer.create(source, place, { ...options(), autoPlay: true });
  keep(player, signal);
}

/** Plays a session from its beginning, with its moments beside it. A long one is prepared first, which the bar says. */
export async function playReplay({ place, bar, moments, size }, base, { autoPlay }, signal) {
  shape(place, size);
  const note = h("div", { class: "preparing" });
  bar.prepend(note);
  const plan = await planOf(base, note, signal);
  if (plan === null) return;
  note.remove();
  const isFile = plan.kind === "file";
  const source = isFile
    ? { url: `${base}/recording.cast` }
    : { url: new URL(`${base}/replay.json`, location.href).href, format: "segmented" };
  const life = { player: null };
  const play = (more) => {
    const speed = Number(rate.value);
    life.player = window.AsciinemaPlayer.create(source, place, { ...options(), speed, ...more });
  };
  const rate = speedSelect(async () => {
    const at = await life.player.getCurrentTime();
    life.player.dispose();
    play({ autoPlay: true, startAt: at });
  });
  play({ autoPlay, ...(isFile ? { poster: posterOf(plan) } : {}) });
  signal.addEventListener("abort", () => life.player.dispose(), { once: true });
  bar.append(h("label", { class: "speed" }, "Speed", rate), keysHint());
  moments.draw(plan, async (time) => {
    // In this order: a player that was never started shows an empty screen after a seek.
    await life.player.play();
    await life.player.seek(time);
  });
  void followTime(life, moments, signal);
}

/** The first screen is often empty; the one of a little later says what the session is. */
function posterOf({ duration }) {
  return `npt:0:0${Math.min(3, duration).toFixed(3)}`;
}

function speedSelect(onchange) {
  return h(
    "select",
    { onchange: () => void onchange() },
    SPEEDS.map((speed) => h("option", { value: speed }, `${speed} ×`)),
  );
}

function keysHint() {
  const key = (name) => h("kbd", {}, name);
  return h(
    "span",
    { class: "keys" },
    key("Space"),
    " plays, ",
    key("←"),
    " ",
    key("→"),
    " seek, ",
    key("["),
    " ",
    key("]"),
    " go by moments, ",
    key("F"),
    " fills the screen",
  );
}

/** Tells the moments where the player is. */
async function followTime(life, moments, signal) {
  while (!signal.aborted) {
    const time = await life.player.getCurrentTime();
    if (typeof time === "number") moments.at(time);
    await pause(CURRENT_MS, signal);
  }
}

async function planOf(base, note, signal) {
  for (;;) {
    const plan = await patiently(() => getJson(`${base}/replay`, signal), signal);
    if (signal.aborted) return null;
    if (plan.kind !== "preparing") return plan;
    const percent = Math.floor(plan.progress * 100);
    note.replaceChildren(
      h("p", { class: "quiet" }, `Preparing the replay of a long session: ${percent} %`),
      h("progress", { max: 100, value: percent, "aria-label": "Preparing the replay" }),
    );
    await pause(LOOK_MS, signal);
    if (signal.aborted) return null;
  }
}
