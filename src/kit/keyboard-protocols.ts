import type { Terminal } from "@xterm/headless";

/** Levels that a program may stack up on one screen; the oldest are forgotten, as terminals do. */
const MAX_LEVELS = 16;

/**
 * What programs ask of a keyboard beyond the classic encoding, which the emulator does not know: kitty's protocol, whose flags are
 * stacked for each screen by itself, and xterm's modifyOtherKeys.
 */
export class KeyboardProtocols {
  readonly #terminal: Terminal;
  #stacks = { normal: [0], alternate: [0] };
  #otherKeys = 0;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
    const { parser } = terminal;
    parser.registerCsiHandler({ prefix: ">", final: "u" }, (params) => {
      this.#push(numberAt(params, 0, 0));
      return true;
    });
    parser.registerCsiHandler({ prefix: "<", final: "u" }, (params) => {
      this.#pop(numberAt(params, 0, 1));
      return true;
    });
    parser.registerCsiHandler({ prefix: "=", final: "u" }, (params) => {
      this.#set(numberAt(params, 0, 0), numberAt(params, 1, 1));
      return true;
    });
    parser.registerCsiHandler({ prefix: ">", final: "m" }, (params) => {
      if (params.length === 0 || params[0] === 4) this.#otherKeys = numberAt(params, 1, 0);
      return true;
    });
  }

  /** The flags of kitty's protocol that hold now; 0: keys are as ever. */
  get flags(): number {
    return this.#stack.at(-1) ?? 0;
  }

  /** What stacks up the flags of a screen on a terminal that shows this one and where none are set. */
  stackText(screen: "normal" | "alternate"): string {
    const [base = 0, ...pushed] = this.#stacks[screen];
    const set = base === 0 ? "" : `\x1b[=${base};1u`;
    return set + pushed.map((flags) => `\x1b[>${flags}u`).join("");
  }

  otherKeysText(): string {
    return this.#otherKeys === 0 ? "" : `\x1b[>4;${this.#otherKeys}m`;
  }

  reset(): void {
    this.#stacks = { normal: [0], alternate: [0] };
    this.#otherKeys = 0;
  }

  get #stack(): number[] {
    return this.#stacks[this.#terminal.buffer.active.type];
  }

  #push(flags: number): void {
    const stack = this.#stack;
    stack.push(flags & 31);
    if (stack.length > MAX_LEVELS + 1) stack.splice(1, 1);
  }

  #pop(count: number): void {
    const stack = this.#stack;
    stack.length = Math.max(0, stack.length - Math.max(1, count));
    if (stack.length === 0) stack.push(0);
  }

  #set(flags: number, how: number): void {
    const stack = this.#stack;
    const before = stack.pop() ?? 0;
    const changed = how === 2 ? before | flags : how === 3 ? before & ~flags : flags;
    stack.push(changed & 31);
  }
}

function numberAt(params: (number | number[])[], index: number, otherwise: number): number {
  const value = params[index];
  return typeof value === "number" && value > 0 ? value : otherwise;
}
