/** What the keys after the prefix key ask for. */
export type ViewerAction = "detach" | "stop";

const PREFIX = 0x1d;
const PASTE_START = "\u001B[200~";
const PASTE_END = "\u001B[201~";
/** Ctrl-] as terminals send it once a program asked for the kitty protocol or modifyOtherKeys. */
const ENCODED_PREFIX = /^\u001B\[(?:93;5(?::[12])?u|27;5;93~)/;
/** The same protocols for a plain `d` or `k`, and for the release of any key. */
const ENCODED_LETTER = /^\u001B\[(\d+)(?:;1(?::[12])?)?u/;
const ENCODED_RELEASE = /^\u001B\[\d+;\d+:3u/;

/**
 * Finds the prefix key (Ctrl-]) in what a person types: Ctrl-] d detaches, Ctrl-] k stops the run, Ctrl-] twice is one
 * Ctrl-] for the program, any other key after it is dropped. Pasted text is never searched.
 */
export class PrefixKeys {
  #isPrefixed = false;
  #isPasting = false;

  /** The bytes for the program, in order, up to the first action. What stands after an action is dropped. */
  push(bytes: Buffer): { input: Buffer; action: ViewerAction | null } {
    // Latin-1 keeps bytes and characters in step.
    const text = bytes.toString("latin1");
    let input = "";
    let at = 0;
    while (at < text.length) {
      const rest = text.slice(at);
      if (this.#isPasting) {
        const end = rest.indexOf(PASTE_END);
        const length = end === -1 ? rest.length : end + PASTE_END.length;
        input += rest.slice(0, length);
        at += length;
        this.#isPasting = end === -1;
        continue;
      }
      const key = keyAt(rest);
      at += key.length;
      if (this.#isPrefixed) {
        if (key.isRelease) continue;
        this.#isPrefixed = false;
        if (key.isPrefix) input += rest.slice(0, key.length);
        else if (key.letter === "d")
          return { input: Buffer.from(input, "latin1"), action: "detach" };
        else if (key.letter === "k") return { input: Buffer.from(input, "latin1"), action: "stop" };
        continue;
      }
      if (key.isPrefix) {
        this.#isPrefixed = true;
        continue;
      }
      if (rest.startsWith(PASTE_START)) this.#isPasting = true;
      input += rest.slice(0, key.length);
    }
    return { input: Buffer.from(input, "latin1"), action: null };
  }
}

interface Key {
  length: number;
  isPrefix: boolean;
  isRelease: boolean;
  letter: string;
}

function keyAt(text: string): Key {
  const none = { isPrefix: false, isRelease: false, letter: "" };
  if (text.charCodeAt(0) === PREFIX) return { ...none, length: 1, isPrefix: true };
  if (text.charCodeAt(0) !== 0x1b) return { ...none, length: 1, letter: text.charAt(0) };
  const prefix = ENCODED_PREFIX.exec(text);
  if (prefix !== null) return { ...none, length: prefix[0].length, isPrefix: true };
  const release = ENCODED_RELEASE.exec(text);
  if (release !== null) return { ...none, length: release[0].length, isRelease: true };
  const letter = ENCODED_LETTER.exec(text);
  if (letter !== null)
    return {
      ...none,
      length: letter[0].length,
      letter: String.fromCodePoint(Number(letter[1]) % 0x11_0000),
    };
  const sequence = /^\u001B(?:\[[0-?]*[ -/]*[@-~]|O.|.)?/s.exec(text);
  return { ...none, length: sequence?.[0].length ?? 1 };
}
