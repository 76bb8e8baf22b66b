// One run: how it stands, its terminal, and beside it what it did.
import { getJson } from "./api.js";
import { openAskBanner } from "./ask-banner.js";
import { openCallList } from "./call-list.js";
import { patiently } from "./connection.js";
import { h } from "./dom.js";
import { openEventList } from "./event-list.js";
import { followAudit, followRun } from "./follow-run.js";
import { openRunHead } from "./run-head.js";
import { openSessionView } from "./session-view.js";
import { openShellList } from "./shell-list.js";

/** A shell's recording is complete a moment after it is closed. */
const SHELL_LOOKS_MS = [0, 3000];

/** Draws the run into `root` and keeps it current until `signal` is aborted. */
export async function openRunView(root, run, signal) {
  let info = await patiently(() => getJson(`/v1/runs/${run}`, signal), signal);
  const head = openRunHead(run);
  const ask = openAskBanner(run);
  const session = openSessionView(run, signal);
  const shells = openShellList(run, (mode, options) => session.show(mode, options));
  const calls = openCallList();
  const events = openEventList();
  root.replaceChildren(
    head.element,
    h(
      "div",
      { class: "stage" },
      h("div", { class: "session" }, ask.element, session.element, head.actions),
      h("div", { class: "side" }, calls.element, shells.element, events.element),
    ),
  );
  const showShells = () => void shells.refresh(signal).catch(() => {});
  const showInfo = () => {
    for (const part of [head, ask, calls, events]) part.show(info);
  };
  showInfo();
  session.begin(info);
  showShells();
  followRun(
    run,
    {
      info: (next) => {
        const hasEnded = info.end === null && next.end !== null;
        info = next;
        showInfo();
        if (hasEnded) session.end(info);
      },
      event: (event) => {
        ask.hear(event);
        if (event.type === "shell") for (const ms of SHELL_LOOKS_MS) setTimeout(showShells, ms);
        if (event.type !== "heartbeat") events.add(event);
      },
    },
    signal,
  );
  await followAudit(
    run,
    { take: (records) => calls.add(records), isOver: () => info.end !== null },
    signal,
  );
}
