// A session in asciinema-player: live, or from its beginning, whole or in segments, with its moments beside it.
import { getJson, socketUrl } from "./api.js";
import { formatDuration, h } from "./dom.js";

const LOOK_MS = 400;
const MAX_MOMENTS = 2000;
/** What kind of moment a marker is, by the words it begins with. */
const KINDS = [
  ["gap", "Gaps and interruptions", /gap|interrupted|ends here|lost|agentkube:/i],
  ["tool", "Tool calls", /^tool\b/],
  ["state", "States", /^state\b/],
  ["hand", "Hands", /^(?:input|person|automation)\b/],
];

function options() {
  return {
    fit: "width",
    preload: true,
    controls: true,
    terminalFontFamily:
      "'JetBrains Mono', 'Cascadia Code', Menlo, Consolas, 'DejaVu Sans Mono', monospace",
    terminalFontSize: "14px",
    theme: "asciinema",
  };
}

/** Plays a session live. The manager is on this machine: events are shown as they come, without a buffer. */
export function playLive(place, base) {
  const source = { driver: "websocket", url: socketUrl(`${base}/live`), bufferTime: 0 };
  return window.AsciinemaPlayer.create(source, place, { ...options(), autoPlay: true });
}

/**
 * Plays a session from its beginning, with its moments in `moments`. A long one is prepared first, which `note` says. Null when it was
 * left meanwhile.
 */
export async function playReplay({ place, moments, note }, base, signal, { autoPlay }) {
  const plan = await planOf(base, note, signal);
  if (plan === null) return null;
  const isFile = plan.kind === "file";
  const source = isFile
    ? { url: `${base}/recording.cast` }
    : { url: new URL(`${base}/replay.json`, location.href).href, format: "segmented" };
  const player = window.AsciinemaPlayer.create(source, place, {
    ...options(),
    autoPlay,
    // Long silences are shortened where the player can; in segments it cannot.
    ...(isFile ? { poster: "npt:0:03" } : {}),
  });
  showMoments(moments, plan, player);
  return player;
}

async function planOf(base, note, signal) {
  for (;;) {
    const plan = await getJson(`${base}/replay`, signal);
    if (signal.aborted) return null;
    if (plan.kind !== "preparing") {
      note.replaceChildren();
      return plan;
    }
    const percent = Math.floor(plan.progress * 100);
    note.replaceChildren(
      h("p", { class: "quiet" }, `Preparing the replay of a long session: ${percent} %`),
      h("progress", { max: 100, value: percent, "aria-label": "Preparing the replay" }),
    );
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    if (signal.aborted) return null;
  }
}

/** A line of ticks over the whole session, and the list of what they are; each seeks the player. */
function showMoments(root, { duration, markers }, player) {
  if (markers.length === 0) return root.replaceChildren();
  const rows = markers.slice(0, MAX_MOMENTS).map(([time, label]) => ({
    time,
    label,
    kind: KINDS.find(([, , words]) => words.test(label))?.[0] ?? "other",
  }));
  const seek = async (time) => {
    // In this order: a player that was never started shows an empty screen after a seek.
    await player.play();
    await player.seek(time);
  };
  const track = h(
    "div",
    { class: "track", "aria-hidden": "true" },
    rows.map(({ time, label, kind }) => {
      const tick = h("span", {
        class: `tick ${kind}`,
        title: label,
        onclick: () => void seek(time),
      });
      tick.style.left = `${duration > 0 ? (time / duration) * 100 : 0}%`;
      return tick;
    }),
  );
  const list = h(
    "ol",
    { class: "moments" },
    rows.map(({ time, label, kind }) =>
      h(
        "li",
        { class: kind },
        h(
          "button",
          { type: "button", onclick: () => void seek(time) },
          h("span", { class: "at" }, clockOf(time)),
          h("span", { class: `dot ${kind}` }),
          h("span", {}, label),
        ),
      ),
    ),
  );
  const present = KINDS.filter(([kind]) => rows.some((row) => row.kind === kind));
  const filters = present.map(([kind, name]) => {
    const count = rows.filter((row) => row.kind === kind).length;
    const box = h("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => root.classList.toggle(`without-${kind}`, !box.checked));
    return h("label", {}, box, h("span", { class: `dot ${kind}` }), `${name} ${count}`);
  });
  const more = markers.length - rows.length;
  const rest = more > 0 ? `; ${more} more moments are in the recording` : "";
  root.replaceChildren(
    track,
    h("div", { class: "filters" }, filters),
    list,
    h("p", { class: "quiet" }, `${formatDuration(duration * 1000)} in all${rest}`),
  );
}

function clockOf(seconds) {
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const rest = `${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
  return hours > 0 ? `${hours}:${rest}` : rest;
}
