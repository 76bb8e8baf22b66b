// Reads ALiS v1 as a server or a player does: the frames of asciinema 3.1, each field in its order, and nothing more.

/** One message of a stream: the screen at its beginning, an event, or the end. */
export type AlisFrame =
  | { kind: "init"; lastId: number; timeUs: number; cols: number; rows: number; screen: string }
  | { kind: "event"; id: number; dtUs: number; code: string; data: string }
  | { kind: "end" };

/** Decodes one message behind the magic. Throws where it ends too early, says too much, or is of no known kind. */
export function decodeAlis(message: Buffer): AlisFrame {
  let at = 1;
  const number = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = message[at++];
      if (byte === undefined) throw new Error("Frame ends inside a number");
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  const text = (): string => {
    const length = number();
    if (at + length > message.length) throw new Error("Frame ends inside a text");
    return new TextDecoder("utf-8", { fatal: true }).decode(message.subarray(at, (at += length)));
  };
  const whole = <T>(frame: T): T => {
    if (at !== message.length) throw new Error(`Frame has ${message.length - at} bytes more`);
    return frame;
  };
  const type = message[0];
  if (type === 0x04) return { kind: "end" };
  if (type === 0x01) {
    const [lastId, timeUs, cols, rows] = [number(), number(), number(), number()];
    const colors = message[at++] ?? 0;
    at += colors === 0 ? 0 : 3 * (colors + 2);
    return whole({ kind: "init", lastId, timeUs, cols, rows, screen: text() });
  }
  const code = String.fromCharCode(type ?? 0);
  if (!"oirmx".includes(code)) throw new Error(`Frame of unknown type ${type}`);
  const [id, dtUs] = [number(), number()];
  const data = code === "r" ? `${number()}x${number()}` : code === "x" ? String(number()) : text();
  return whole({ kind: "event", id, dtUs, code, data });
}
