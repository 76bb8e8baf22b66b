const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** A size as people read it, such as `1.5 MiB`. */
export function humanBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit] ?? ""}`;
}

/** A span of time as people read it, such as `2 d 3 h` or `1.2 s`: its two largest units. */
export function humanSpan(milliseconds: number): string {
  const ms = Math.max(0, Math.round(milliseconds));
  if (ms < 1000) return `${ms} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const whole = Math.floor(seconds);
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(" ");
}

/** A count and what is counted, such as `1 call` and `2 calls`. */
export function humanCount(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

/** Why a run ended so, to be put behind its outcome: ` (exited, code 2)`. A reason that only says the outcome again is left out. */
export function humanWhy(
  { outcome, reason }: { outcome: string; reason: string },
  code: string | null = null,
): string {
  const why = [reason === outcome ? null : reason, code].filter((each) => each !== null);
  return why.length === 0 ? "" : ` (${why.join(", ")})`;
}

/** Rows as a table with aligned columns, two spaces between them. Widths count what a terminal shows, not SGR sequences. */
export function humanTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, column) =>
    Math.max(...all.map((row) => shownWidth(row[column] ?? ""))),
  );
  return all.map((row) =>
    row
      .map((cell, column) =>
        column === row.length - 1
          ? cell
          : cell + " ".repeat(Math.max(0, (widths[column] ?? 0) - shownWidth(cell))),
      )
      .join("  ")
      .trimEnd(),
  );
}

/** Controls, and what turns the direction of text around: with it a line reads as something else than it is. */
const ACTING = /[\u0000-\u001F\u007F-\u009F\u061C\u200E\u200F\u2028-\u202E\u2066-\u2069]/g;
/** The colours that we paint with, so that a line of ours keeps them. */
const PAINT = /(\u001B\[(?:1|2|22|31|32|33|36|39)m)/;

/** Text from another program on one line of a person's terminal: controls become visible, so that they cannot act. */
export function oneLine(text: string): string {
  return text
    .replaceAll(/\r?\n/g, " ⏎ ")
    .replaceAll(ACTING, (control) => (control === "\t" ? " " : visible(control)));
}

/** A message of ours that may quote another program: only lines that are indented stay lines, so that none passes for a message. */
export function shownMessage(text: string): string {
  return text
    .split(/\r?\n(?= {2})/)
    .map(oneLine)
    .join("\n");
}

/** What another program printed, for a person's terminal: its lines stay, its other controls become visible. */
export function withoutControls(text: string): string {
  return text
    .replaceAll("\r\n", "\n")
    .replaceAll(ACTING, (control) => ("\t\n".includes(control) ? control : visible(control)));
}

/** A line of ours as it was painted, for a person's terminal: whatever else in it could act becomes visible. */
export function paintedOnly(text: string): string {
  return text
    .split(PAINT)
    .map((part, at) => (at % 2 === 1 ? part : withoutControls(part)))
    .join("");
}

/** JSON that means the same, without the controls that JSON leaves as they are. */
export function shownJson(json: string): string {
  return json.replaceAll(
    /[\u007F-\u009F\u061C\u200E\u200F\u2028-\u202E\u2066-\u2069]/g,
    (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function visible(control: string): string {
  const code = control.charCodeAt(0).toString(16);
  return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
}

function shownWidth(text: string): number {
  return Array.from(text.replaceAll(/\u001B\[[0-9;]*m/g, "")).length;
}
