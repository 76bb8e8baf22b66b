import type { Terminal } from "@xterm/headless";

/** What programs are told when they ask for colours: a dark terminal with xterm's palette. */
const COLOURS: Record<number, string> = { 10: "d0d0d0", 11: "000000", 12: "d0d0d0" };
const PALETTE =
  "000000 cd0000 00cd00 cdcd00 0000ee cd00cd 00cdcd e5e5e5 7f7f7f ff0000 00ff00 ffff00 5c5cff ff00ff 00ffff ffffff".split(
    " ",
  );
/** A cell as a usual font has it. Programs work out sizes of pictures with it, which viewers do not get. */
const CELL = { width: 8, height: 16 };
const ST = "\u001B\\";

/**
 * Answers the queries that the headless emulator leaves unanswered; a program that waits for them starts slowly or not at all.
 * With it the emulator is the one terminal that answers: viewers never see a query. The clipboard (OSC 52) is never read.
 * `keyboardFlags`: of kitty's protocol, as the program has set them.
 */
export function answerQueries(
  terminal: Terminal,
  reply: (text: string) => void,
  keyboardFlags: () => number = () => 0,
): void {
  const { parser } = terminal;
  // `OSC 10 ; ? ; ?` asks for 10 and 11.
  for (const first of [10, 11, 12])
    parser.registerOscHandler(first, (data) => {
      const asked = data.split(";").map((part, index) => (part === "?" ? first + index : 0));
      for (const code of asked) {
        const colour = COLOURS[code];
        if (colour !== undefined) reply(`\u001B]${code};${rgb(colour)}${ST}`);
      }
      return asked.some((code) => code !== 0);
    });
  parser.registerOscHandler(4, (data) => {
    const parts = data.split(";");
    let isAsked = false;
    for (let i = 0; i + 1 < parts.length; i += 2) {
      const index = Number(parts[i]);
      if (parts[i + 1] !== "?" || !Number.isInteger(index) || index < 0 || index > 255) continue;
      isAsked = true;
      reply(`\u001B]4;${index};${rgb(paletteColour(index))}${ST}`);
    }
    return isAsked;
  });
  parser.registerOscHandler(52, () => true);
  // DA3: the unit id of a terminal that has none.
  parser.registerCsiHandler({ prefix: "=", final: "c" }, () => {
    reply(`\u001BP!|00000000${ST}`);
    return true;
  });
  // Kitty's keyboard protocol.
  parser.registerCsiHandler({ prefix: "?", final: "u" }, () => {
    reply(`\u001B[?${keyboardFlags()}u`);
    return true;
  });
  parser.registerCsiHandler({ prefix: ">", final: "q" }, (params) => {
    if ((params[0] ?? 0) === 0) reply(`\u001BP>|agentkube${ST}`);
    return true;
  });
  parser.registerCsiHandler({ final: "t" }, (params) => {
    const { width, height } = CELL;
    const size = `${terminal.rows * height};${terminal.cols * width}t`;
    const answers: Record<number, string> = {
      14: `\u001B[4;${size}`,
      15: `\u001B[5;${size}`,
      16: `\u001B[6;${height};${width}t`,
      18: `\u001B[8;${terminal.rows};${terminal.cols}t`,
      19: `\u001B[9;${terminal.rows};${terminal.cols}t`,
    };
    const answer = typeof params[0] === "number" ? answers[params[0]] : undefined;
    if (answer !== undefined) reply(answer);
    return answer !== undefined;
  });
  // Dark or light: dark.
  parser.registerCsiHandler({ prefix: "?", final: "n" }, (params) => {
    if (params[0] === 996) reply("\u001B[?997;1n");
    return params[0] === 996;
  });
  // XTGETTCAP: no capability is told, at once rather than never.
  parser.registerDcsHandler({ intermediates: "+", final: "q" }, () => {
    reply(`\u001BP0+r${ST}`);
    return true;
  });
}

/** `rrggbb` as X has it. */
function rgb(colour: string): string {
  const [r, g, b] = [0, 2, 4].map((at) => colour.slice(at, at + 2));
  return `rgb:${r}${r}/${g}${g}/${b}${b}`;
}

/** The 16 colours, the 6×6×6 cube, the greys. */
function paletteColour(index: number): string {
  const known = PALETTE[index];
  if (known !== undefined) return known;
  const hex = (value: number): string => value.toString(16).padStart(2, "0");
  if (index >= 232) return hex(8 + (index - 232) * 10).repeat(3);
  const level = (step: number): string => hex(step === 0 ? 0 : 55 + step * 40);
  const at = index - 16;
  return level(Math.floor(at / 36)) + level(Math.floor(at / 6) % 6) + level(at % 6);
}
