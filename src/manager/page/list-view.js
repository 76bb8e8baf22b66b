// The list of runs: what is live first, and what waits for a person before that.
import { getJson } from "./api.js";
import { patiently, pause } from "./connection.js";
import { h } from "./dom.js";
import { counted, formatBytes, formatDuration, timeElement } from "./format.js";
import { isWaiting, proofPill, runDuration, runPills } from "./pills.js";

const POLL_MS = 2000;
/** With fewer runs there is nothing to look for. */
const MANY = 8;

/** Keeps the list current until `signal` is aborted. `say` hears a summary. */
export async function openListView(root, say, signal) {
  const list = h("div", {});
  const search = h("input", {
    type: "search",
    placeholder: "Find",
    "aria-label": "Find runs",
    hidden: true,
  });
  let runs = null;
  const draw = () => {
    search.hidden = runs.length <= MANY;
    drawGroups(list, runs, search.value.trim().toLowerCase());
  };
  search.addEventListener("input", draw);
  root.replaceChildren(h("div", { class: "title" }, h("h1", {}, "Runs"), search), list);
  let shown = "";
  while (!signal.aborted) {
    if (runs === null || document.visibilityState === "visible") {
      const answer = await patiently(() => getJson("/v1/runs", signal), signal);
      const live = answer.runs.filter((info) => info.end === null).length;
      say(`${counted(answer.runs.length, "run")}, ${live} live`);
      // Drawn again only when something changed, so that focus and selection stay.
      const state = JSON.stringify(answer.runs) + (live > 0 ? Date.now() : "");
      runs = answer.runs;
      if (state !== shown) draw();
      shown = state;
    }
    await pause(POLL_MS, signal);
  }
}

function drawGroups(list, runs, words) {
  const focused = document.activeElement?.getAttribute("href");
  const found = runs.filter((info) => words === "" || textOf(info).includes(words));
  const live = found.filter((info) => info.end === null);
  live.sort((a, b) => Number(isWaiting(b)) - Number(isWaiting(a)));
  const ended = found.filter((info) => info.end !== null);
  if (runs.length === 0) list.replaceChildren(emptyList());
  else if (found.length === 0) list.replaceChildren(h("p", { class: "quiet" }, "No run fits."));
  else list.replaceChildren(...group("Live", live), ...group("Ended", ended));
  if (focused !== null && focused !== undefined)
    list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

function emptyList() {
  return h(
    "section",
    { class: "empty" },
    h("h2", {}, "No runs yet"),
    h("p", {}, "Start one in a terminal, and it appears here:"),
    h("pre", {}, "agentkube run agent.yaml"),
    h(
      "p",
      { class: "quiet" },
      "Or without a manifest: agentkube run --runtime ClaudeCode --goal '…'",
    ),
  );
}

function group(name, runs) {
  if (runs.length === 0) return [];
  return [
    h("h2", { class: "group" }, name, " ", h("span", { class: "quiet" }, String(runs.length))),
    h("ul", { class: "runs", "aria-label": `${name} runs` }, runs.map(runCard)),
  ];
}

function runCard(info) {
  return h(
    "li",
    { class: `card${isWaiting(info) ? " waiting" : ""}` },
    h(
      "a",
      { class: "cover", href: `#/runs/${info.run}` },
      h("span", { class: "name" }, info.agent),
      " ",
      h("span", { class: "id" }, info.run),
    ),
    h("span", { class: "pills" }, runPills(info), proofPill(info)),
    h(
      "span",
      { class: "facts" },
      h("span", {}, info.runtime),
      h("span", {}, timeElement(info.startedAt)),
      h("span", {}, formatDuration(runDuration(info))),
      info.committedBytes > 0 && h("span", {}, formatBytes(info.committedBytes)),
      info.calls.length > 0 && h("span", {}, counted(info.calls.length, "call")),
    ),
  );
}

function textOf({ agent, run, runtime, state, end }) {
  const words = [
    agent,
    run,
    runtime,
    end === null ? `live ${state}` : `${end.outcome} ${end.reason}`,
  ];
  return words.join(" ").replaceAll("_", " ").toLowerCase();
}
