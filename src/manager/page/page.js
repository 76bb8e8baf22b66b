// The page: a list of runs, and one run. The fragment of the URL says which.
import { ApiFailure, getJson, login } from "./api.js";
import {
  formatBytes,
  formatDuration,
  h,
  proofPill,
  runDuration,
  runPills,
  timeElement,
} from "./dom.js";
import { openRunView } from "./run-view.js";

const POLL_MS = 2000;
const main = document.querySelector("#main");
const summary = document.querySelector("#summary");
let leave = () => {};

/** Shows what the fragment names. */
async function route() {
  leave();
  const life = new AbortController();
  leave = () => life.abort();
  const run = /^#\/runs\/([a-z0-9-]{1,63})$/.exec(location.hash)?.[1];
  document.title = run === undefined ? "agentkube" : `${run} · agentkube`;
  summary.textContent = "";
  try {
    if (run === undefined) await showList(life.signal);
    else await openRunView(main, run, life.signal);
  } catch (error) {
    if (!life.signal.aborted) showFailure(error);
  }
}

async function showList(signal) {
  let shown = "";
  while (!signal.aborted) {
    if (document.visibilityState === "visible") {
      const { runs } = await getJson("/v1/runs", signal);
      const live = runs.filter((info) => info.end === null).length;
      summary.textContent = `${runs.length} ${runs.length === 1 ? "run" : "runs"}, ${live} live`;
      const state = JSON.stringify(runs) + (live > 0 ? Date.now() : "");
      // Drawn again only when something changed, so that focus and selection stay.
      if (state !== shown) drawList(runs);
      shown = state;
    }
    await pause(POLL_MS, signal);
  }
}

function drawList(runs) {
  const focused = document.activeElement?.getAttribute("href");
  if (runs.length === 0) {
    main.replaceChildren(
      h(
        "section",
        { class: "empty" },
        h("h1", {}, "No runs yet"),
        h("p", {}, "Start one in a terminal:"),
        h("pre", {}, "agentkube run agent.yaml"),
      ),
    );
    return;
  }
  main.replaceChildren(h("h1", {}, "Runs"), h("ul", { class: "runs" }, runs.map(runCard)));
  if (focused !== null && focused !== undefined)
    main.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

function runCard(info) {
  return h(
    "li",
    { class: "card" },
    h(
      "a",
      { class: "cover", href: `#/runs/${info.run}` },
      h("span", { class: "name" }, info.agent),
      h("span", { class: "id" }, info.run),
    ),
    h("span", { class: "pills" }, runPills(info), proofPill(info)),
    h(
      "span",
      { class: "facts" },
      h("span", {}, info.runtime),
      h("span", {}, timeElement(info.startedAt)),
      h("span", {}, formatDuration(runDuration(info))),
      h("span", {}, formatBytes(info.committedBytes)),
      info.calls.length > 0 &&
        h("span", {}, `${info.calls.length} ${info.calls.length === 1 ? "call" : "calls"}`),
    ),
  );
}

function showFailure(error) {
  const isLogin = error instanceof ApiFailure && error.status === 401;
  main.replaceChildren(
    h(
      "section",
      { class: "empty", role: "alert" },
      h("h1", {}, isLogin ? "Please open the link again" : "Nothing to show"),
      h(
        "p",
        {},
        isLogin
          ? "This page needs the link with the token that agentkube run prints at its start."
          : error.message,
      ),
      h(
        "p",
        {},
        h("button", { type: "button", onclick: () => void route() }, "Try again"),
        " ",
        h("a", { href: "#/" }, "All runs"),
      ),
    ),
  );
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}

async function enter() {
  try {
    await login();
  } catch (error) {
    showFailure(error);
    return;
  }
  await route();
}

window.addEventListener("hashchange", () => {
  if (location.hash === "#main") return;
  void (location.hash.includes("token=") ? enter() : route());
});
await enter();
