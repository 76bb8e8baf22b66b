// The moments of a recording: a line of ticks over the whole session, and the list of what they are. Each seeks the player.
import { h, moveByArrows } from "./dom.js";
import { formatClock, formatDuration } from "./format.js";

const MAX_MOMENTS = 2000;
/** What kind of moment a marker is, by the words it begins with; the first that fits. */
const KINDS = [
  {
    kind: "hand",
    name: "Keyboard",
    words: /^(?:input|person|automation)\b|^agentkube: the keyboard/,
  },
  { kind: "gap", name: "Gaps and ends", words: /gap|interrupted|ends here|lost|^agentkube:/i },
  { kind: "tool", name: "Tool calls", words: /^tool\b/ },
  { kind: "state", name: "States", words: /^state\b/ },
  { kind: "other", name: "Others", words: /(?:)/ },
];

export function openMoments() {
  const element = h("section", { class: "timeline", "aria-label": "Moments" });
  let buttons = [];
  let head = null;
  let current = null;
  let duration = 0;

  return {
    element,
    clear() {
      buttons = [];
      head = null;
      element.className = "timeline";
      element.replaceChildren();
    },
    /** Draws the markers of a plan; `seek(seconds)` is what each does. */
    draw(plan, seek) {
      duration = plan.duration;
      const rows = plan.markers.slice(0, MAX_MOMENTS).map(momentOf);
      if (rows.length === 0) return;
      head = h("span", { class: "head" });
      const list = h(
        "ol",
        { class: "moments" },
        rows.map((row) => listItem(row, seek)),
      );
      buttons = [...list.querySelectorAll("button")];
      moveByArrows(list, "button", ["ArrowUp", "ArrowDown"]).stop(buttons[0]);
      element.replaceChildren(
        h("div", { class: "track", "aria-hidden": "true" }, head, rows.map(tickOf(seek))),
        legend(element, rows, plan),
        list,
      );
    },
    /** Where the player is, in seconds. */
    at(time) {
      if (head === null) return;
      head.style.left = `${duration > 0 ? Math.min(100, (time / duration) * 100) : 0}%`;
      const next = buttons.findLast((button) => Number(button.dataset.time) <= time + 0.05) ?? null;
      if (next === current) return;
      current?.removeAttribute("aria-current");
      next?.setAttribute("aria-current", "true");
      // Only the list scrolls, never the page, and not under the hands of who is in it.
      const list = next?.closest("ol");
      if (list?.contains(document.activeElement) === false)
        list.scrollTop = next.offsetTop - list.offsetTop - list.clientHeight / 2;
      current = next;
    },
  };

  function tickOf(seek) {
    return ({ time, label, kind }) => {
      const tick = h("span", {
        class: `tick ${kind}`,
        title: `${formatClock(time)} ${label}`,
        onclick: () => void seek(time),
      });
      tick.style.left = `${duration > 0 ? (time / duration) * 100 : 0}%`;
      return tick;
    };
  }
}

function momentOf([time, label]) {
  return { time, label, kind: KINDS.find(({ words }) => words.test(label)).kind };
}

function listItem({ time, label, kind }, seek) {
  return h(
    "li",
    { class: kind },
    h(
      "button",
      { type: "button", "data-time": time, onclick: () => void seek(time) },
      h("span", { class: "at" }, formatClock(time)),
      h("span", { class: `dot ${kind}` }),
      h("span", {}, label),
    ),
  );
}

/** How many there are of each kind, each to be hidden. */
function legend(element, rows, { duration, markers }) {
  const present = KINDS.filter(({ kind }) => rows.some((row) => row.kind === kind));
  const filters = present.map(({ kind, name }) => {
    const count = rows.filter((row) => row.kind === kind).length;
    const box = h("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => element.classList.toggle(`without-${kind}`, !box.checked));
    return h("label", {}, box, h("span", { class: `dot ${kind}` }), `${name} ${count}`);
  });
  const more = markers.length - rows.length;
  const length = formatDuration(duration * 1000);
  return h(
    "div",
    { class: "filters" },
    present.length > 1 && filters,
    h("span", {}, more > 0 ? `${length}; ${more} more moments are in the recording` : length),
  );
}
