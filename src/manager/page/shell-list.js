// The shells that a run has had, each with its recording.
import { getJson } from "./api.js";
import { h } from "./dom.js";
import { timeElement } from "./format.js";
import { pill } from "./pills.js";

/** `show(mode, options)` shows a recording in place of the run's. */
export function openShellList(run, show) {
  const rows = h("ol", { class: "rows" });
  const element = h(
    "section",
    { "aria-label": "Shells", hidden: true },
    h("h2", {}, "Shells"),
    rows,
  );
  return {
    element,
    async refresh(signal) {
      const { shells } = await getJson(`/v1/runs/${run}/shells`, signal);
      element.hidden = shells.length === 0;
      rows.replaceChildren(...shells.map((shell) => shellRow(run, shell, show)));
    },
  };
}

function shellRow(run, shell, show) {
  const base = `/v1/runs/${run}/shells/${shell.grant_id}`;
  const isOpen = shell.endedAt === null;
  const mode = isOpen ? "live" : "replay";
  const name = shell.argv === null ? "interactive" : shell.argv.join(" ");
  const title = `Shell ${name} by ${shell.by}`;
  return h(
    "li",
    { class: "event" },
    timeElement(shell.openedAt),
    pill(isOpen ? "open" : "closed", isOpen ? "live" : "plain"),
    h("span", {}, name),
    h("span", { class: "quiet" }, `by ${shell.by}${shell.reason ? `, ${shell.reason}` : ""}`),
    shell.committedBytes > 0 &&
      h(
        "button",
        {
          type: "button",
          "aria-label": `${isOpen ? "Watch" : "Replay"} the shell`,
          onclick: () => show(mode, { base, title, size: shell.terminal, autoPlay: true }),
        },
        isOpen ? "Watch" : "Replay",
      ),
  );
}
