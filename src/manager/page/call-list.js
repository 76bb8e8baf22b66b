// The tool calls of a run with the requests they made, the newest first, and the requests of the agent itself.
import { h } from "./dom.js";
import { counted, formatDuration, timeElement } from "./format.js";
import { pill } from "./pills.js";

const MAX_ROWS = 500;
/** With fewer calls there is nothing to look for. */
const MANY = 6;
const OWN = { model: "Model requests", agent: "The agent's own requests" };

export function openCallList() {
  const requests = new Map();
  const calls = new Map();
  let seen = 0;
  const rows = h("div", { class: "rows" });
  const own = h("div", { class: "rows own" });
  const none = h("p", { class: "quiet" }, "No tool calls yet.");
  const count = h("span", { class: "quiet" });
  const filter = openFilter(() => apply());

  function apply() {
    for (const row of rows.children) row.hidden = !filter.shows(calls.get(row.dataset.key));
  }

  function drawCall(key) {
    const call = calls.get(key);
    const old = rows.querySelector(`[data-key="${CSS.escape(key)}"]`);
    const row = callRow(call, requests.get(key) ?? []);
    row.open = old?.open === true;
    row.hidden = !filter.shows(call);
    if (old === null) rows.prepend(row);
    else old.replaceWith(row);
  }

  function drawOwn() {
    const open = new Set([...own.querySelectorAll("details[open]")].map((row) => row.dataset.key));
    const sources = Object.keys(OWN).filter((source) => requests.has(source));
    own.replaceChildren(...sources.map((source) => ownRow(source, requests.get(source))));
    for (const row of own.children) row.open = open.has(row.dataset.key);
  }

  return {
    element: h(
      "section",
      { "aria-label": "Tool calls" },
      h("h2", {}, "Tool calls ", count),
      filter.element,
      none,
      rows,
      own,
    ),
    /** Takes records of the audit. */
    add(records) {
      const changed = new Set();
      for (const record of records) {
        if (record.type === "call") {
          if (!calls.has(record.call)) seen += 1;
          calls.set(record.call, record);
          changed.add(record.call);
        } else if (record.type === "request") {
          const key = record.call ?? record.source;
          const list = requests.get(key) ?? [];
          if (list.length < MAX_ROWS) list.push(record);
          requests.set(key, list);
          changed.add(key);
        }
      }
      for (const key of changed) if (calls.has(key)) drawCall(key);
      drawOwn();
      while (rows.children.length > MAX_ROWS) {
        const { key } = rows.lastElementChild.dataset;
        calls.delete(key);
        requests.delete(key);
        rows.lastElementChild.remove();
      }
      none.hidden = calls.size > 0;
      count.textContent = seen > calls.size ? `${calls.size} newest of ${seen}` : seen || "";
      filter.count(calls);
    },
    show(info) {
      none.textContent = info.end === null ? "No tool calls yet." : "No tool calls.";
    },
  };
}

/** Words to look for, and whether only what went wrong is shown. */
function openFilter(apply) {
  const words = h("input", {
    type: "search",
    placeholder: "Find",
    "aria-label": "Find tool calls",
    oninput: apply,
  });
  const only = h("input", { type: "checkbox", onchange: apply });
  const label = h("span", {}, "Only what failed");
  const element = h("div", { class: "find", hidden: true }, words, h("label", {}, only, label));
  return {
    element,
    shows(call) {
      const text = `${call.tool} ${call.operation} ${call.outcome}`.replaceAll("_", " ");
      const isFound = text.toLowerCase().includes(words.value.trim().toLowerCase());
      return isFound && (!only.checked || toneOf(call) !== "good");
    },
    count(calls) {
      const failed = [...calls.values()].filter((call) => toneOf(call) !== "good").length;
      element.hidden = calls.size <= MANY;
      label.textContent = `Only what failed (${failed})`;
    },
  };
}

function toneOf({ outcome, exitCode }) {
  if (outcome !== "completed") return "bad";
  return exitCode === 0 || exitCode === null ? "good" : "warn";
}

function callRow(call, requests) {
  const isBadExit = call.outcome === "completed" && toneOf(call) === "warn";
  return h(
    "details",
    { class: "row", "data-key": call.call },
    h(
      "summary",
      {},
      h("strong", {}, `${call.tool} ${call.operation}`),
      pill(isBadExit ? `exit ${call.exitCode}` : call.outcome, toneOf(call)),
      h("span", { class: "quiet" }, formatDuration(call.durationMs)),
      requests.length > 0 && h("span", { class: "quiet" }, counted(requests.length, "request")),
    ),
    h(
      "p",
      { class: "facts" },
      h("span", {}, timeElement(call.time)),
      call.exitCode !== null && h("span", {}, `exit code ${call.exitCode}`),
      call.tier && h("span", {}, `sandbox: ${call.tier}`),
      call.masked > 0 && h("span", {}, `${counted(call.masked, "secret")} masked`),
    ),
    call.detail &&
      h(
        "p",
        { class: "detail" },
        call.detail.cause,
        call.detail.fix ? h("span", { class: "quiet" }, `What to do: ${call.detail.fix}`) : null,
      ),
    requests.length > 0 && requestTable(requests),
  );
}

function ownRow(source, requests) {
  const refused = requests.filter(({ verdict }) => !verdict.startsWith("allowed")).length;
  return h(
    "details",
    { class: "row", "data-key": source },
    h(
      "summary",
      {},
      h("strong", {}, OWN[source]),
      pill(String(requests.length), "plain"),
      refused > 0 && pill(`${refused} refused`, "bad"),
    ),
    requestTable(requests),
  );
}

function requestTable(requests) {
  return h(
    "ul",
    { class: "requests" },
    requests.map((request) =>
      h(
        "li",
        {},
        pill(request.verdict, request.verdict.startsWith("allowed") ? "good" : "bad"),
        h("code", {}, `${request.method} ${request.host}${request.path}`),
        request.status !== null && h("span", { class: "quiet" }, String(request.status)),
        request.credential !== null && h("span", { class: "quiet" }, `with ${request.credential}`),
      ),
    ),
  );
}
