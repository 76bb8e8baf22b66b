/**
 * ALiS v1, the live stream of asciinema: one binary WebSocket message each, integers as unsigned LEB128, times in microseconds since
 * the message before, strings as length and UTF-8.
 */
export const ALIS_MAGIC = Buffer.from("ALiS\u0001", "latin1");

const TYPE: Record<string, number> = { o: 0x6f, i: 0x69, r: 0x72, m: 0x6d, x: 0x78 };
const INIT = 0x01;
const EOT = 0x04;

/**
 * The first frame after the magic, and later the reset of a viewer that fell behind: a screen of this size at this time, empty or
 * painted by `screen`. Events follow from `lastId` + 1.
 */
export function alisInit(init: {
  timeUs: number;
  cols: number;
  rows: number;
  lastId?: number;
  screen?: string;
}): Buffer {
  const theme = 0;
  const screen = Buffer.from(init.screen ?? "");
  const head = [
    INIT,
    ...leb128(init.lastId ?? 0),
    ...leb128(init.timeUs),
    ...leb128(init.cols),
    ...leb128(init.rows),
    theme,
    ...leb128(screen.length),
  ];
  return Buffer.concat([Buffer.from(head), screen]);
}

/** One event of a recording; null for codes that ALiS does not know. */
export function alisEvent(event: {
  id: number;
  dtUs: number;
  code: string;
  data: string;
}): Buffer | null {
  const type = TYPE[event.code];
  if (type === undefined) return null;
  const head = [type, ...leb128(event.id), ...leb128(event.dtUs)];
  if (event.code === "r") {
    const [cols = 0, rows = 0] = event.data.split("x").map(Number);
    return Buffer.from([...head, ...leb128(cols), ...leb128(rows)]);
  }
  if (event.code === "x") return Buffer.from([...head, ...leb128(Number(event.data))]);
  const text = Buffer.from(event.data);
  return Buffer.concat([Buffer.from([...head, ...leb128(text.length)]), text]);
}

/** The end of the stream. */
export function alisEnd(id: number, dtUs: number): Buffer {
  return Buffer.from([EOT, ...leb128(id), ...leb128(dtUs)]);
}

/** Numbers beyond 32 bits occur: hours in microseconds. */
function leb128(value: number): number[] {
  const bytes: number[] = [];
  let rest = Math.max(0, Math.round(value));
  while (rest > 127) {
    bytes.push((rest % 128) | 0x80);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return bytes;
}
