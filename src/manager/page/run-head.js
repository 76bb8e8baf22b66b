// Who a run is, how it stands and why, and what can be done with it as a whole.
import { post } from "./api.js";
import { h } from "./dom.js";
import { formatBytes, formatDuration, timeElement } from "./format.js";
import { proofPill, runDuration, runPills } from "./pills.js";

export function openRunHead(run) {
  const heading = h("div", { class: "heading" });
  const note = h("div", { class: "note", role: "status" });
  const actions = h("p", { class: "actions" });
  return {
    element: h(
      "header",
      { class: "run-head" },
      h("p", { class: "back" }, h("a", { href: "#/" }, "← All runs")),
      heading,
      note,
    ),
    actions,
    show(info) {
      heading.replaceChildren(
        h("h1", {}, info.agent, " ", h("span", { class: "id" }, info.run)),
        h("p", { class: "pills" }, runPills(info), proofPill(info)),
        h("p", { class: "facts" }, factsOf(info)),
      );
      note.replaceChildren(...noteOf(info));
      // A question that the person is asked just now stays.
      const isStopping = info.end === null && actions.querySelector("button.danger") !== null;
      if (!isStopping) actions.replaceChildren(...actionsOf(run, info));
    },
  };
}

function factsOf(info) {
  return [
    h("span", {}, `${info.runtime}, ${info.mode}`),
    h("span", {}, "started ", timeElement(info.startedAt)),
    info.endedAt !== null && h("span", {}, `took ${formatDuration(runDuration(info))}`),
    info.committedBytes > 0 && h("span", {}, `${formatBytes(info.committedBytes)} on record`),
    typeof info.end?.exitCode === "number" && h("span", {}, `exit code ${info.end.exitCode}`),
    info.end?.signal && h("span", {}, info.end.signal),
  ];
}

function noteOf({ end }) {
  const detail = end?.detail;
  if (detail === undefined) return [];
  return [
    h(
      "p",
      { class: `detail${end.outcome === "succeeded" ? " fine" : ""}` },
      detail.cause,
      detail.path ? h("code", {}, detail.path) : null,
      detail.fix ? h("span", { class: "quiet" }, `What to do: ${detail.fix}`) : null,
    ),
  ];
}

function actionsOf(run, info) {
  const file = `${run}.cast`;
  return [
    info.end === null && stopButton(run),
    (info.committedBytes > 0 || info.end === null) &&
      h("a", { href: `/v1/runs/${run}/recording.cast`, download: file }, "Download the recording"),
  ].filter(Boolean);
}

/** Asks once more before it stops the run; the question goes away by itself. */
function stopButton(run) {
  const stop = h("button", { type: "button", class: "danger" }, "Stop this run");
  let isSure = false;
  const ask = (sure) => {
    isSure = sure;
    stop.textContent = sure ? "Really stop it?" : "Stop this run";
  };
  stop.addEventListener("blur", () => !stop.disabled && ask(false));
  stop.addEventListener("click", () => {
    if (!isSure) return ask(true);
    stop.disabled = true;
    stop.textContent = "Stopping…";
    post(`/v1/runs/${run}/stop`).catch((error) => {
      stop.disabled = false;
      stop.textContent = `Not stopped: ${error.message}`;
    });
  });
  return stop;
}
