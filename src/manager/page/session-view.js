// The ways to see a session, as tabs; one at a time is open, and the one before ends.
import { post, remove } from "./api.js";
import { h, moveByArrows } from "./dom.js";
import { openMoments } from "./moments.js";
import { playLive, playReplay } from "./player-view.js";

const PANEL = "session-panel";
const TABS = [
  { mode: "live", name: "Live", ofLive: true },
  { mode: "replay", name: "Replay", ofLive: false },
  { mode: "attach", name: "Terminal", ofLive: true },
  { mode: "shell", name: "Shell", ofLive: true },
];

/** `show(mode, {base, title, size, autoPlay})` shows another recording than the run's, or the run's when there is no `base`. */
export function openSessionView(run, signal) {
  const tabs = h("div", {
    class: "tabs",
    role: "tablist",
    "aria-label": "Ways to see the session",
  });
  const bar = h("div", { class: "bar" });
  const panel = h("div", { class: "terminal", id: PANEL, role: "tabpanel" });
  const moments = openMoments();
  const keys = moveByArrows(tabs, "button", ["ArrowLeft", "ArrowRight"]);
  let info = null;
  let leave = null;

  /** Shows one of the ways in place of the one before. */
  async function show(mode, options = {}) {
    leave?.abort();
    const life = new AbortController();
    leave = life;
    signal.addEventListener("abort", () => life.abort(), { once: true });
    const current = select(options.base === undefined ? mode : null);
    panel.setAttribute("aria-label", options.title ?? current ?? "Session");
    const isWindow = mode === "attach" || mode === "shell";
    const place = h("div", { class: isWindow ? "window" : "screen" });
    panel.replaceChildren(place);
    bar.replaceChildren();
    moments.clear();
    if (options.title !== undefined)
      bar.append(
        h("span", {}, options.title),
        backButton(() => void show("replay")),
      );
    const base = options.base ?? `/v1/runs/${run}`;
    const size = options.size ?? info.terminal;
    const where = { place, bar, moments, size };
    try {
      if (mode === "live") playLive(where, base, life.signal);
      if (mode === "replay") await playReplay(where, base, options, life.signal);
      if (mode === "attach") await attach(where, life.signal);
      if (mode === "shell") await openShell(where, life.signal);
    } catch (error) {
      if (!life.signal.aborted) place.replaceWith(h("p", { class: "quiet" }, error.message));
    }
  }

  function select(mode) {
    let name = null;
    for (const tab of tabs.children) {
      const isIt = tab.dataset.mode === mode;
      tab.setAttribute("aria-selected", String(isIt));
      if (isIt) {
        keys.stop(tab);
        name = tab.textContent;
      }
    }
    return name;
  }

  /** The agent's own terminal, read-only until the person wants to type. */
  async function attach({ place }, signal, write = false) {
    const { openTerminal } = await import("./terminal-view.js");
    if (signal.aborted) return;
    const state = h("span", { class: "quiet", role: "status" });
    const type = h("button", { type: "button" }, write ? "Stop typing" : "Type into it");
    const inner = new AbortController();
    signal.addEventListener("abort", () => inner.abort(), { once: true });
    type.addEventListener("click", () => {
      inner.abort();
      place.replaceChildren();
      void attach({ place }, signal, !write);
    });
    bar.replaceChildren(info.interactive ? type : "", state);
    const on = {
      state: (text, isOver) => {
        state.textContent = text;
        if (isOver) type.remove();
      },
    };
    openTerminal(place, { path: `/v1/runs/${run}/attach`, write, on }, inner.signal);
  }

  /** A shell of its own beside the agent; it closes when it is left. */
  async function openShell({ place }, signal) {
    const { openTerminal } = await import("./terminal-view.js");
    const shell = await post(`/v1/runs/${run}/shells`, { cols: 100, rows: 30 });
    const base = `/v1/runs/${run}/shells/${shell.grant_id}`;
    signal.addEventListener("abort", () => void remove(base).catch(() => {}), { once: true });
    if (signal.aborted) return;
    const state = h("span", { class: "quiet", role: "status" });
    bar.replaceChildren(h("span", {}, "A shell beside the agent, recorded as well."), state);
    const on = { state: (text) => (state.textContent = text) };
    openTerminal(place, { path: `${base}/attach`, write: true, on }, signal);
  }

  function drawTabs(isLive) {
    const shown = TABS.filter(({ ofLive }) => isLive || !ofLive);
    // A single way is no choice.
    tabs.hidden = shown.length < 2;
    tabs.replaceChildren(
      ...shown.map(({ mode, name }) =>
        h(
          "button",
          {
            type: "button",
            role: "tab",
            "data-mode": mode,
            "aria-controls": PANEL,
            onclick: () => void show(mode),
          },
          name,
        ),
      ),
    );
  }

  return {
    element: h("div", {}, tabs, bar, panel, moments.element),
    show: (mode, options) => void show(mode, options),
    begin(first) {
      info = first;
      drawTabs(info.end === null);
      if (info.end === null) void show("live");
      else if (info.committedBytes > 0) void show("replay");
      else panel.replaceChildren(h("p", { class: "quiet" }, "This run has no recording."));
    },
    /** The run has ended: the last screen stays until the person wants the replay. */
    end(last) {
      info = last;
      drawTabs(false);
      if (info.committedBytes === 0) return;
      const again = h("button", { type: "button" }, "Replay from the start");
      again.addEventListener("click", () => void show("replay", { autoPlay: true }));
      bar.replaceChildren(h("span", { class: "quiet" }, "The session has ended."), again);
    },
  };
}

function backButton(onclick) {
  return h("button", { type: "button", onclick }, "Back to the agent's session");
}
