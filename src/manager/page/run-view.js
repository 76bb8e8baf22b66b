// One run: its terminal live or replayed, its tool calls with the requests they made, and its events.
import { getJson, post, remove, socketUrl } from "./api.js";
import { playLive, playReplay } from "./player-view.js";
import {
  formatBytes,
  formatDuration,
  h,
  pill,
  proofPill,
  runDuration,
  runPills,
  timeElement,
} from "./dom.js";

const AUDIT_POLL_MS = 2000;
const MAX_ROWS = 500;

/** Draws the run into `root` and keeps it current until `signal` is aborted. */
export async function openRunView(root, run, signal) {
  const info = await getJson(`/v1/runs/${run}`, signal);
  const view = drawFrame(root, run);
  showInfo(view, info);
  showTerminal(view, info, signal);
  void showShells(view).catch(() => {});
  const events = [];
  const requests = new Map();
  follow(run, signal, {
    info: (next) => {
      const ended = view.info.end === null && next.end !== null;
      showInfo(view, next);
      if (ended) offerReplay(view, next, signal);
    },
    event: (seq, event) => {
      if (event.type === "heartbeat") return;
      // Its recording is complete a moment after it is closed.
      if (event.type === "shell")
        for (const ms of [0, 3000]) setTimeout(() => void showShells(view).catch(() => {}), ms);
      events.unshift({ seq, event });
      events.length = Math.min(events.length, MAX_ROWS);
      view.events.replaceChildren(...events.map(eventRow));
    },
  });
  let next = 1;
  const calls = [];
  for (;;) {
    const records = await getJson(`/v1/runs/${run}/audit?from=${next}`, signal);
    for (const record of records) {
      next = record.seq + 1;
      if (record.type === "call") calls.unshift(record);
      if (record.type === "request") keepRequest(requests, record);
    }
    if (records.length > 0 || next === 1) showCalls(view, calls.slice(0, MAX_ROWS), requests);
    if (view.info.end !== null && records.length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, AUDIT_POLL_MS));
    if (signal.aborted) return;
  }
}

function drawFrame(root, run) {
  const view = {
    run,
    info: null,
    signal: null,
    leave: null,
    heading: h("div", { class: "heading" }),
    note: h("div", { class: "note", role: "status" }),
    actions: h("p", { class: "actions" }),
    tabs: h("div", { class: "tabs", role: "tablist", "aria-label": "Ways to see the session" }),
    bar: h("div", { class: "bar" }),
    terminal: h("div", { class: "terminal" }),
    moments: h("section", { class: "timeline", "aria-label": "Moments" }),
    shellRows: h("ol", { class: "rows" }),
    calls: h("div", { class: "rows" }, h("p", { class: "quiet" }, "No tool calls yet.")),
    events: h("ol", { class: "rows" }),
  };
  view.shells = h(
    "section",
    { "aria-label": "Shells", hidden: true },
    h("h2", {}, "Shells"),
    view.shellRows,
  );
  root.replaceChildren(
    h("p", { class: "back" }, h("a", { href: "#/" }, "← All runs")),
    view.heading,
    view.note,
    view.tabs,
    view.bar,
    view.terminal,
    view.moments,
    view.actions,
    h(
      "div",
      { class: "columns" },
      h(
        "section",
        { "aria-label": "Tool calls" },
        h("h2", {}, "Tool calls and requests"),
        view.calls,
      ),
      h(
        "div",
        {},
        view.shells,
        h("section", { "aria-label": "Events" }, h("h2", {}, "Events"), view.events),
      ),
    ),
  );
  return view;
}

function showInfo(view, info) {
  view.info = info;
  view.heading.replaceChildren(
    h("h1", {}, info.agent, " ", h("span", { class: "id" }, info.run)),
    h("p", { class: "pills" }, runPills(info), proofPill(info)),
    h(
      "p",
      { class: "facts" },
      h("span", {}, `${info.runtime}, ${info.mode}`),
      h("span", {}, "started ", timeElement(info.startedAt)),
      info.endedAt === null ? null : h("span", {}, `took ${formatDuration(runDuration(info))}`),
      h("span", {}, `${formatBytes(info.committedBytes)} on record`),
      info.end?.exitCode === null || info.end === null
        ? null
        : h("span", {}, `exit code ${info.end.exitCode}`),
      info.end?.signal ? h("span", {}, info.end.signal) : null,
    ),
  );
  const detail = info.end?.detail;
  view.note.replaceChildren(
    ...(detail === undefined
      ? []
      : [
          h(
            "p",
            { class: "detail" },
            detail.cause,
            detail.path ? h("code", {}, detail.path) : null,
            detail.fix ? h("span", { class: "quiet" }, `What to do: ${detail.fix}`) : null,
          ),
        ]),
  );
  showActions(view, info);
}

function showActions(view, info) {
  const stop = h("button", { type: "button", class: "danger" }, "Stop this run");
  stop.addEventListener("click", () => {
    if (stop.dataset.sure === undefined) {
      stop.dataset.sure = "yes";
      stop.textContent = "Really stop it?";
      return;
    }
    stop.disabled = true;
    stop.textContent = "Stopping…";
    post(`/v1/runs/${info.run}/stop`).catch((error) => {
      stop.textContent = error.message;
    });
  });
  const old = view.actions.querySelector("button.danger");
  if (info.end === null && old !== null) return;
  view.actions.replaceChildren(
    ...(info.end === null ? [stop] : []),
    ...(info.committedBytes > 0 || info.end === null
      ? [
          h(
            "a",
            { href: `/v1/runs/${info.run}/recording.cast`, download: `${info.run}.cast` },
            "Download the recording",
          ),
        ]
      : []),
  );
}

/** The ways to see the session, as tabs; the first that makes sense is open. */
function showTerminal(view, info, signal) {
  view.signal = signal;
  const tabs = [
    ["live", "Live", () => info.end === null],
    ["replay", "Replay", () => true],
    ["attach", "Terminal", () => info.end === null],
    ["shell", "Shell", () => info.end === null],
  ];
  view.tabs.replaceChildren(
    ...tabs
      .filter(([, , isThere]) => isThere())
      .map(([mode, name]) =>
        h(
          "button",
          { type: "button", role: "tab", "data-mode": mode, onclick: () => void open(view, mode) },
          name,
        ),
      ),
  );
  if (info.end === null) return void open(view, "live");
  if (info.committedBytes > 0) return void open(view, "replay");
  view.tabs.replaceChildren();
  view.terminal.replaceChildren(h("p", { class: "quiet" }, "This run has no recording."));
}

/** Shows one of the ways in place of the one before, which ends. */
async function open(view, mode, options = {}) {
  view.leave?.abort();
  const life = new AbortController();
  view.leave = life;
  view.signal.addEventListener("abort", () => life.abort(), { once: true });
  for (const tab of view.tabs.children)
    tab.setAttribute("aria-selected", String(tab.dataset.mode === mode));
  const place = h("div", { class: mode === "attach" || mode === "shell" ? "window" : "" });
  view.terminal.replaceChildren(place);
  view.bar.replaceChildren();
  view.moments.replaceChildren();
  const base = options.base ?? `/v1/runs/${view.run}`;
  try {
    if (mode === "live") keep(life, playLive(place, base));
    if (mode === "replay") {
      const parts = { place, moments: view.moments, note: view.bar };
      const player = await playReplay(parts, base, life.signal, { autoPlay: options.autoPlay });
      if (player !== null) keep(life, player);
    }
    if (mode === "attach") await attach(view, place, life.signal);
    if (mode === "shell") await openShell(view, place, life.signal);
  } catch (error) {
    if (!life.signal.aborted) place.replaceChildren(h("p", { class: "quiet" }, error.message));
  }
}

function keep(life, player) {
  if (life.signal.aborted) player.dispose();
  else life.signal.addEventListener("abort", () => player.dispose(), { once: true });
}

/** The agent's own terminal, read-only until the person wants to type. */
async function attach(view, place, signal, write = false) {
  const { openTerminal } = await import("./terminal-view.js");
  if (signal.aborted) return;
  const state = h("span", { class: "quiet", role: "status" });
  const type = h("button", { type: "button" }, write ? "Stop typing" : "Type into it");
  const inner = new AbortController();
  signal.addEventListener("abort", () => inner.abort(), { once: true });
  type.addEventListener("click", () => {
    inner.abort();
    place.replaceChildren();
    void attach(view, place, signal, !write);
  });
  view.bar.replaceChildren(view.info.interactive ? type : "", state);
  const on = {
    state: (text, isOver) => {
      state.textContent = text;
      if (isOver) type.remove();
    },
  };
  openTerminal(place, { path: `/v1/runs/${view.run}/attach`, write, on }, inner.signal);
}

/** A shell of its own beside the agent; it closes when it is left. */
async function openShell(view, place, signal) {
  const { openTerminal } = await import("./terminal-view.js");
  const shell = await post(`/v1/runs/${view.run}/shells`, { cols: 100, rows: 30 });
  const base = `/v1/runs/${view.run}/shells/${shell.grant_id}`;
  signal.addEventListener("abort", () => void remove(base).catch(() => {}), { once: true });
  if (signal.aborted) return;
  const state = h("span", { class: "quiet", role: "status" });
  view.bar.replaceChildren(h("span", {}, "A shell beside the agent, recorded as well. "), state);
  const on = { state: (text) => (state.textContent = text) };
  openTerminal(place, { path: `${base}/attach`, write: true, on }, signal);
  void showShells(view);
}

/** The shells that the run has had, each with its recording. */
async function showShells(view) {
  const { shells } = await getJson(`/v1/runs/${view.run}/shells`, view.signal);
  view.shells.hidden = shells.length === 0;
  view.shellRows.replaceChildren(
    ...shells.map((shell) => {
      const base = `/v1/runs/${view.run}/shells/${shell.grant_id}`;
      const mode = shell.endedAt === null ? "live" : "replay";
      return h(
        "li",
        { class: "event" },
        timeElement(shell.openedAt),
        pill(shell.endedAt === null ? "open" : "closed", shell.endedAt === null ? "live" : "plain"),
        h("span", {}, shell.argv === null ? "interactive" : shell.argv.join(" ")),
        h("span", { class: "quiet" }, `by ${shell.by}${shell.reason ? `, ${shell.reason}` : ""}`),
        shell.committedBytes > 0 &&
          h(
            "button",
            { type: "button", onclick: () => void open(view, mode, { base, autoPlay: true }) },
            mode === "live" ? "Watch" : "Replay",
          ),
      );
    }),
  );
}

/** The last screen stays until the person wants the replay. */
function offerReplay(view, info, signal) {
  if (signal.aborted) return;
  view.tabs.replaceChildren(
    ...Array.from(view.tabs.children).filter((tab) => tab.dataset.mode === "replay"),
  );
  if (info.committedBytes === 0) return;
  const button = h("button", { type: "button" }, "Replay from the start");
  button.addEventListener("click", () => {
    button.remove();
    void open(view, "replay", { autoPlay: true });
  });
  view.actions.prepend(button);
}

/** Follows a run over its WebSocket, across lost connections. */
function follow(run, signal, on) {
  let from = 1;
  let waitMs = 500;
  const connect = () => {
    if (signal.aborted) return;
    const socket = new WebSocket(socketUrl(`/v1/runs/${run}/follow?from=${from}`));
    const stop = () => socket.close();
    signal.addEventListener("abort", stop, { once: true });
    let ended = false;
    socket.addEventListener("message", ({ data }) => {
      waitMs = 500;
      const message = JSON.parse(data);
      if (message.kind === "run") {
        ended = message.info.phase === "ended";
        on.info(message.info);
      } else {
        from = message.seq + 1;
        on.event(message.seq, message.event);
      }
    });
    socket.addEventListener("close", () => {
      signal.removeEventListener("abort", stop);
      if (ended || signal.aborted) return;
      setTimeout(connect, waitMs * Math.random());
      waitMs = Math.min(waitMs * 2, 10_000);
    });
  };
  connect();
}

function keepRequest(requests, record) {
  const key = record.call ?? record.source;
  const list = requests.get(key) ?? [];
  if (list.length < MAX_ROWS) list.push(record);
  requests.set(key, list);
}

function showCalls(view, calls, requests) {
  const own = ["model", "agent"].filter((source) => requests.has(source));
  if (calls.length === 0 && own.length === 0) return;
  const open = new Set(
    [...view.calls.querySelectorAll("details[open]")].map((row) => row.dataset.key),
  );
  view.calls.replaceChildren(
    ...calls.map((call) => callRow(call, requests.get(call.call) ?? [])),
    ...own.map((source) =>
      h(
        "details",
        { class: "row", "data-key": source },
        h(
          "summary",
          {},
          h("strong", {}, source === "model" ? "Model requests" : "The agent's own requests"),
          pill(String(requests.get(source).length), "plain"),
        ),
        requestTable(requests.get(source)),
      ),
    ),
  );
  // Drawn anew, but what the person had open stays open.
  for (const row of view.calls.querySelectorAll("details")) row.open = open.has(row.dataset.key);
}

function callRow(call, requests) {
  const tone =
    call.outcome === "completed"
      ? call.exitCode === 0 || call.exitCode === null
        ? "good"
        : "warn"
      : "bad";
  return h(
    "details",
    { class: "row", "data-key": call.call },
    h(
      "summary",
      {},
      h("strong", {}, `${call.tool} ${call.operation}`),
      pill(call.outcome, tone),
      h("span", { class: "quiet" }, formatDuration(call.durationMs)),
      requests.length > 0 &&
        h(
          "span",
          { class: "quiet" },
          `${requests.length} ${requests.length === 1 ? "request" : "requests"}`,
        ),
    ),
    h(
      "p",
      { class: "facts" },
      h("span", {}, timeElement(call.time)),
      call.exitCode !== null && h("span", {}, `exit code ${call.exitCode}`),
      call.tier && h("span", {}, `sandbox: ${call.tier}`),
      call.masked > 0 && h("span", {}, `${call.masked} secrets masked`),
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

function eventRow({ event }) {
  const what = {
    state: () => [
      pill(event.state, "plain"),
      h("span", { class: "quiet" }, `${event.channel}: ${event.evidence}`),
    ],
    notice: () => [h("span", {}, event.message)],
    screen: () => [
      h("details", {}, h("summary", {}, "The screen that blocked it"), h("pre", {}, event.text)),
    ],
    shell: () => [
      pill(`shell ${event.change}`, event.change === "refused" ? "bad" : "plain"),
      h("span", { class: "quiet" }, event.detail),
    ],
    ended: () => [
      pill(event.end.outcome, "plain"),
      h("span", { class: "quiet" }, event.end.reason.replaceAll("_", " ")),
    ],
  }[event.type];
  return h(
    "li",
    { class: "event" },
    timeElement(event.time),
    what === undefined ? event.type : what(),
  );
}
