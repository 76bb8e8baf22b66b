import {
  BG,
  COLOUR_MODE,
  COLOUR_VALUE,
  FG,
  PALETTE_16,
  PALETTE_256,
  type EmulatorCore,
  type Style,
} from "./emulator-core.ts";

/** Styles with their parameter of SGR, but underlining, which has kinds. */
const FLAGS: readonly (readonly [word: "fg" | "bg", bit: number, parameter: number])[] = [
  ["fg", FG.bold, 1],
  ["bg", BG.dim, 2],
  ["bg", BG.italic, 3],
  ["fg", FG.blink, 5],
  ["fg", FG.inverse, 7],
  ["fg", FG.invisible, 8],
  ["fg", FG.struck, 9],
  ["bg", BG.overlined, 53],
];

export const PLAIN: Style = {
  fg: 0,
  bg: 0,
  extended: { underlineStyle: 0, underlineColor: 0, urlId: 0 },
};

/** Says what brings a terminal from one style to the next: colours, styles, underlining, links, protection from erasure. */
export class StyleWriter {
  readonly #links: EmulatorCore["_oscLinkService"];
  #flags = "";
  #fg = "";
  #bg = "";
  #link = 0;
  #wasEver = false;
  /** null: not known */
  #isProtected: boolean | null = false;

  /** `links`: of the emulator whose cells are written. It begins with a terminal whose style is plain. */
  constructor(links: EmulatorCore["_oscLinkService"]) {
    this.#links = links;
  }

  /** What has to be written so that what is printed next has this style. */
  to(style: Style): string {
    return this.#sgr(style, false) + this.#linkTo(style) + this.#protect(style);
  }

  /** The same for what is printed later: also what does not show yet, a colour of underlining before there is any. */
  toPen(style: Style): string {
    return this.#sgr(style, true) + this.#linkTo(style) + this.#protect(style);
  }

  /** What is written so that what is erased next has no background; empty when it has none. */
  withoutBackground(): string {
    return this.#bg === "" ? "" : this.#sgr(PLAIN, false);
  }

  #sgr(style: Style, isPen: boolean): string {
    const flags = flagsOf(style, isPen);
    const fg = colourOf(style.fg, 30);
    const bg = colourOf(style.bg, 40);
    let said: string[] = [];
    if (flags !== this.#flags || (fg === "" && this.#fg !== "") || (bg === "" && this.#bg !== ""))
      // What is on is not turned off one by one: 22 ends bold and faint, and terminals differ in 21.
      said = this.#reset([flags, fg, bg]);
    else {
      if (fg !== this.#fg) said.push(fg);
      if (bg !== this.#bg) said.push(bg);
    }
    this.#flags = flags;
    this.#fg = fg;
    this.#bg = bg;
    return said.length === 0 ? "" : `\x1b[${said.join(";")}m`;
  }

  #reset(parts: string[]): string[] {
    // In some terminals this ends the protection too.
    this.#isProtected = null;
    return ["0", ...parts.filter((part) => part !== "")];
  }

  #linkTo(style: Style): string {
    const { urlId } = extendedOf(style);
    // The emulator forgets a link whose rows are gone.
    const link = urlId === 0 ? undefined : this.#links.getLinkData(urlId);
    const shown = link === undefined ? 0 : urlId;
    if (shown === this.#link) return "";
    this.#link = shown;
    if (link === undefined) return "\x1b]8;;\x1b\\";
    return `\x1b]8;${link.id === undefined ? "" : `id=${link.id}`};${link.uri}\x1b\\`;
  }

  #protect({ bg }: Style): string {
    const isProtected = (bg & BG.protected) !== 0;
    if (isProtected === this.#isProtected) return "";
    const wasEver = this.#wasEver;
    this.#isProtected = isProtected;
    this.#wasEver ||= isProtected;
    // The usual case costs nothing: nothing was ever protected.
    if (!isProtected && !wasEver) return "";
    return `\x1b[${isProtected ? 1 : 0}"q`;
  }
}

/** What is not marked as extended holds what was there before. */
function extendedOf({ bg, extended }: Style): Style["extended"] {
  return (bg & BG.extended) === 0 ? PLAIN.extended : extended;
}

function flagsOf(style: Style, isPen: boolean): string {
  const parts: string[] = [];
  for (const [word, bit, parameter] of FLAGS)
    if ((style[word] & bit) !== 0) parts.push(`${parameter}`);
  const { underlineStyle: kind, underlineColor: colour, urlId } = extendedOf(style);
  // A link is shown with dashes, and hides how it is underlined itself.
  const isUnderlined = (style.fg & FG.underline) !== 0;
  if (isUnderlined) parts.push(kind > 1 && urlId === 0 ? `4:${kind}` : "4");
  if (!isPen && !isUnderlined && urlId === 0) return parts.join(";");
  const mode = colour & COLOUR_MODE;
  if (mode === PALETTE_16 || mode === PALETTE_256) parts.push(`58:5:${colour & 0xff}`);
  else if (mode === COLOUR_MODE) parts.push(`58:2::${bytesOf(colour).join(":")}`);
  return parts.join(";");
}

/** The parameters of a colour of text (30) or background (40); empty: the terminal's own. */
function colourOf(word: number, base: 30 | 40): string {
  const value = word & COLOUR_VALUE;
  switch (word & COLOUR_MODE) {
    case PALETTE_16:
      return `${(value & 8) === 0 ? base + (value & 7) : base + 60 + (value & 7)}`;
    case PALETTE_256:
      return `${base + 8};5;${value & 0xff}`;
    case COLOUR_MODE:
      return `${base + 8};2;${bytesOf(value).join(";")}`;
    default:
      return "";
  }
}

function bytesOf(value: number): number[] {
  return [(value >> 16) & 0xff, (value >> 8) & 0xff, value & 0xff];
}
