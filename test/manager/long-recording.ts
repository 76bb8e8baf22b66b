/** A recording of about so many bytes, the same each time: builds, tables, screens that are redrawn, colours, wide characters, tool calls. */
export function aLongRecording(size: number): {
  bytes: Buffer;
  /** without the header */
  lines: Buffer;
  /** `[ms since the start, code, data]` */
  events: [number, string, string][];
} {
  const header = '{"version":3,"term":{"cols":100,"rows":30},"timestamp":1763600000}\n';
  const events: [number, string, string][] = [];
  const lines: string[] = [];
  let bytes = 0;
  let ms = 0;
  const add = (interval: number, code: string, data: string): number => {
    ms += interval;
    events.push([ms, code, data]);
    const line = `[${(interval / 1000).toFixed(3)}, "${code}", ${JSON.stringify(data)}]\n`;
    lines.push(line);
    return Buffer.byteLength(line);
  };
  for (let step = 0; bytes < size; step += 1) {
    if (step % 400 === 7) bytes += add(1, "m", `tool: build ${step}`);
    // Every screen begins anew, so that the last of it can be told without all that was before.
    if (step % 50 === 0)
      bytes += add(3, "o", "\u001B[?1049l\u001B[0m\u001B[r\u001B[2J\u001B[3J\u001B[H");
    const rows = Array.from(
      { length: 12 },
      (_, row) =>
        `\u001B[${31 + (row % 7)}m${step}.${row}\u001B[0m compiling src/módulo_${step * 12 + row}.ts ─ 日本 ${"=".repeat((step + row) % 30)}>\r\n`,
    );
    bytes += add(step % 17 === 0 ? 0 : 2, "o", rows.join(""));
    if (step % 23 === 0)
      bytes += add(5, "o", `\u001B[5;10H\u001B[7m status ${step} \u001B[27m\u001B[30;1H`);
    // A sequence that the reading of the terminal has cut.
    if (step % 31 === 0) {
      bytes += add(1, "o", "\u001B[38;2;10;");
      bytes += add(1, "o", "200;30mgreen\u001B[0m\r\n");
    }
  }
  const text = Buffer.from(lines.join(""));
  return { bytes: Buffer.concat([Buffer.from(header), text]), lines: text, events };
}
