// The page: a list of runs, and one run. The fragment of the URL says which.
import { ApiFailure, login, takeToken } from "./api.js";
import { patiently } from "./connection.js";
import { h } from "./dom.js";
import { openListView } from "./list-view.js";
import { openRunView } from "./run-view.js";

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
  document.body.classList.toggle("of-run", run !== undefined);
  const say = (text) => {
    summary.textContent = text;
  };
  say("");
  try {
    if (run === undefined) await openListView(main, say, life.signal);
    else await openRunView(main, run, life.signal);
  } catch (error) {
    if (!life.signal.aborted) showFailure(error);
  }
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
          ? "This page needs the link with the token: agentkube page prints it."
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

async function enter() {
  leave();
  const life = new AbortController();
  leave = () => life.abort();
  const token = takeToken();
  try {
    if (token !== null) await patiently(() => login(token), life.signal);
  } catch (error) {
    if (!life.signal.aborted) showFailure(error);
    return;
  }
  await route();
}

window.addEventListener("hashchange", () => {
  if (location.hash === "#main") return;
  void (location.hash.includes("token=") ? enter() : route());
});
await enter();
