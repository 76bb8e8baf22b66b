import type { Terminal } from "@xterm/headless";

/** Colours that programs are told when they ask: a dark terminal. */
const FOREGROUND = "rgb:d0d0/d0d0/d0d0";
const BACKGROUND = "rgb:0000/0000/0000";

/** Answers start-up queries that the headless emulator leaves unanswered; a program that waits for them starts slowly or not at all. */
export function answerQueries(terminal: Terminal, reply: (text: string) => void): void {
  const { parser } = terminal;
  const colour = (code: number, value: string) =>
    parser.registerOscHandler(code, (data) => {
      if (data === "?") reply(`\x1b]${code};${value}\x1b\\`);
      return data === "?";
    });
  colour(10, FOREGROUND);
  colour(11, BACKGROUND);
  // Kitty keyboard protocol: no flags are set, and none can be.
  parser.registerCsiHandler({ prefix: "?", final: "u" }, () => {
    reply("\x1b[?0u");
    return true;
  });
  parser.registerCsiHandler({ prefix: ">", final: "q" }, () => {
    reply("\x1bP>|agentkube\x1b\\");
    return true;
  });
}
