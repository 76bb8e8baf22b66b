import { readKey } from "./terminal-keys.ts";

/** What the keys after the prefix key ask for. */
export type ViewerAction = "detach" | "stop";

const ESC = "\u001B";
const PASTE_START = "\u001B[200~";
const PASTE_END = "\u001B[201~";
/** Longer sequences are no key. */
const MAX_HELD = 64;

/**
 * Finds the prefix key (Ctrl-]) in what a person types: Ctrl-] d detaches, Ctrl-] k stops the run, Ctrl-] twice is one
 * Ctrl-] for the program, any other key after it is dropped. Pasted text is never searched. However the bytes are cut, the result
 * is the same: what may be the beginning of a key or mark waits for its end.
 */
export class PrefixKeys {
  /** an unfinished sequence, and how much of it the program has or never gets */
  #held = "";
  #given = 0;
  #isPrefixed = false;
  #isPasting = false;

  /** Something waits for its end. When none comes soon it was a key by itself: `flush` gives it. */
  get isWaiting(): boolean {
    return !this.#isPasting && this.#given < this.#held.length;
  }

  /**
   * The bytes for the program, in order, up to the first action. What stands after an action is dropped. `keepsMarks`: the program
   * wants to know where a paste begins and ends.
   */
  push(bytes: Buffer, keepsMarks = true): { input: Buffer; action: ViewerAction | null } {
    let input = "";
    let action: ViewerAction | null = null;
    // Latin-1 keeps bytes and characters in step.
    const text = bytes.toString("latin1");
    for (let at = 0; at < text.length; at++) {
      if (this.#isPasting && this.#held === "") {
        const next = text.indexOf(ESC, at);
        input += text.slice(at, next === -1 ? text.length : next);
        if (next === -1) break;
        at = next;
      }
      const character = text.charAt(at);
      const result = this.#isPasting
        ? this.#pasted(character, keepsMarks)
        : this.#typed(character, keepsMarks);
      input += result.input;
      action = result.action;
      if (action !== null) break;
    }
    return { input: Buffer.from(input, "latin1"), action };
  }

  /** What waited and got no end: Escape, mostly. After the prefix key it is dropped like any other key. */
  flush(): Buffer {
    if (!this.isWaiting) return Buffer.alloc(0);
    const input = this.#isPrefixed ? "" : this.#held.slice(this.#given);
    this.#isPrefixed = false;
    // A paste whose mark comes this slowly is a paste all the same.
    this.#given = this.#held.length;
    return Buffer.from(input, "latin1");
  }

  #pasted(character: string, keepsMarks: boolean): Result {
    this.#held += character;
    if (this.#held === PASTE_END) {
      this.#isPasting = false;
      return pass(this.#release(keepsMarks));
    }
    if (PASTE_END.startsWith(this.#held)) return pass("");
    const input = this.#release(true);
    if (character !== ESC) return pass(input);
    this.#held = ESC;
    return pass(input.slice(0, -1));
  }

  #typed(character: string, keepsMarks: boolean): Result {
    const isOpen = this.#held !== "" && character >= " " && this.#held.length < MAX_HELD;
    if (!isOpen) {
      // A control ends what is open, and is a key of its own.
      const before = this.#isPrefixed && this.#held !== "" ? this.#dropped() : this.#release(true);
      if (character === ESC) {
        this.#held = ESC;
        return pass(before);
      }
      const { input, action } = this.#key(character, 0);
      return { input: before + input, action };
    }
    this.#held += character;
    if (!isWhole(this.#held)) return pass("");
    const key = this.#held;
    const given = this.#given;
    this.#held = "";
    this.#given = 0;
    if (key !== PASTE_START && key !== PASTE_END) return this.#key(key, given);
    this.#isPasting = key === PASTE_START;
    this.#isPrefixed = false;
    return pass(keepsMarks ? key.slice(given) : "");
  }

  /** A whole key, of which the program may have a part already; such a one is no command. */
  #key(text: string, given: number): Result {
    const key = given > 0 ? null : readKey(text);
    if (key === null) return pass(text.slice(given));
    if (!this.#isPrefixed) {
      this.#isPrefixed = key.isPrefix && !key.isRelease;
      return pass(this.#isPrefixed ? "" : text);
    }
    // The mouse, the focus and keys like Control come in between.
    if (key.isReport) return pass(text);
    if (key.isRelease) return pass("");
    this.#isPrefixed = false;
    if (key.isPrefix) return pass(text);
    if (key.letter === "d") return { input: "", action: "detach" };
    return { input: "", action: key.letter === "k" ? "stop" : null };
  }

  #release(isShown: boolean): string {
    const input = isShown ? this.#held.slice(this.#given) : "";
    this.#held = "";
    this.#given = 0;
    return input;
  }

  #dropped(): string {
    this.#isPrefixed = false;
    return this.#release(false);
  }
}

interface Result {
  input: string;
  action: ViewerAction | null;
}

function pass(input: string): Result {
  return { input, action: null };
}

/** Whether a sequence that begins with ESC is one key; the old report of the mouse has three bytes after its end. */
function isWhole(sequence: string): boolean {
  if (sequence.startsWith("\u001B[M")) return sequence.length >= 6;
  return /^\u001B(?:\[[0-?]*[ -/]*[@-~\u0080-\u00FF]|O.|[^[O])$/s.test(sequence);
}
