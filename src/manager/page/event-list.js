// What happened in a run, the newest first.
import { h } from "./dom.js";
import { timeElement } from "./format.js";
import { pill } from "./pills.js";

const MAX_ROWS = 500;

export function openEventList() {
  const rows = h("ol", { class: "rows", reversed: true });
  const none = h("p", { class: "quiet" }, "No events yet.");
  return {
    element: h("section", { "aria-label": "Events" }, h("h2", {}, "Events"), none, rows),
    show(info) {
      none.textContent = info.end === null ? "No events yet." : "No events.";
    },
    add(event) {
      none.hidden = true;
      rows.prepend(h("li", { class: "event" }, timeElement(event.time), wordsOf(event)));
      if (rows.children.length > MAX_ROWS) rows.lastElementChild.remove();
    },
  };
}

function wordsOf(event) {
  switch (event.type) {
    case "state":
      return [pill(event.state, "plain"), quiet(`${event.channel}: ${event.evidence}`)];
    case "notice":
      return h("span", {}, event.message);
    case "screen":
      return h(
        "details",
        {},
        h("summary", {}, "The screen that blocked it"),
        h("pre", { tabindex: 0 }, event.text),
      );
    case "shell":
      return [
        pill(`shell ${event.change}`, event.change === "refused" ? "bad" : "plain"),
        quiet(event.detail),
      ];
    case "input":
      return h("span", {}, `The keyboard is in the hands of ${handsOf(event)}`);
    case "act":
      return [
        pill(`${event.act} ${event.phase}`, event.phase === "refused" ? "bad" : "plain"),
        quiet(`by ${event.by}: ${event.message}`),
      ];
    case "ended":
      return [pill(event.end.outcome, "plain"), quiet(event.end.reason.replaceAll("_", " "))];
    default:
      return h("span", {}, event.type);
  }
}

function handsOf({ hands, window }) {
  if (hands !== "person") return "automation";
  return window === undefined ? "a person" : `a person at window ${window.slice(0, 4)}`;
}

function quiet(text) {
  return h("span", { class: "quiet" }, text);
}
