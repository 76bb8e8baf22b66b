// Small pieces to build the page from. Text only ever becomes text: what a run says is never HTML.

/** Makes an element: properties by name, `class` and `data-…`/`aria-…` as attributes, `on…` as listeners. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(
    ...children.flat().filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** Bytes as people read them. */
export function formatBytes(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Milliseconds as people read them. */
export function formatDuration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${(ms / 1000).toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** A point in time, with the exact one as title. */
export function timeElement(iso) {
  const date = new Date(iso);
  const today = date.toDateString() === new Date().toDateString();
  const text = today
    ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" })
    : date.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  return h("time", { datetime: iso, title: iso }, text);
}

/** A coloured word: `tone` is good, bad, warn, live or plain. */
export function pill(text, tone, title) {
  return h("span", { class: `pill ${tone}`, title }, text.replaceAll("_", " "));
}

/** Outcome and state of a run as pills. */
export function runPills(info) {
  if (info.end === null) {
    const waits = ["permission", "question", "blocked"].includes(info.state);
    return [
      pill(info.phase === "running" ? "live" : info.phase, "live"),
      pill(info.state, waits ? "warn" : "plain"),
    ];
  }
  const tones = { succeeded: "good", failed: "bad", refused: "bad", cancelled: "warn" };
  return [
    pill(info.end.outcome, tones[info.end.outcome] ?? "plain"),
    info.end.reason !== info.end.outcome && pill(info.end.reason, "plain"),
  ];
}

/** Whether the recording was proved by its hash. */
export function proofPill(info) {
  if (info.recording === null)
    return info.committedBytes > 0 ? pill("recording", "live") : pill("no recording", "plain");
  return info.recording.verified
    ? pill("verified", "good", `SHA-256 ${info.recording.sha256}`)
    : pill("not verified", "bad", `SHA-256 ${info.recording.sha256}`);
}

/** How long a run took, or takes. */
export function runDuration(info) {
  const end = info.endedAt === null ? Date.now() : Date.parse(info.endedAt);
  return Math.max(0, end - Date.parse(info.startedAt));
}
