import { PlatformError } from "../kit/platform-error.ts";
import { PACKAGE_LIMITS } from "./packages.ts";

/** An entry of a layer, as the archive says it. */
export interface LayerEntry {
  readonly name: string;
  readonly kind: "file" | "directory" | "symlink" | "hardlink";
  /** of a link */
  readonly target: string;
  readonly executable: boolean;
  /** of a file: which spooled content it has, and how long it is */
  readonly content: number;
  readonly bytes: number;
}

interface DirectoryNode {
  readonly kind: "directory";
  readonly children: Map<string, Node>;
  /** the last layer that named it or something below it */
  layer: number;
}
interface FileNode {
  readonly kind: "file";
  readonly content: number;
  readonly bytes: number;
  readonly executable: boolean;
  layer: number;
}
interface LinkNode {
  readonly kind: "link";
  readonly target: string;
  layer: number;
}
type Node = DirectoryNode | FileNode | LinkNode;

/** What has to be made on disk, parents first. Paths are relative, of plain names. */
export type TreeStep =
  | { readonly kind: "directory"; readonly path: string }
  | { readonly kind: "link"; readonly path: string; readonly target: string }
  | {
      readonly kind: "file";
      readonly path: string;
      readonly content: number;
      readonly executable: boolean;
    };

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";
const MAX_NAME_BYTES = 255;
const MAX_PATH_BYTES = 4096;
const MAX_LINKS = 40;

/**
 * The file system that the layers of an image make, as a tree in memory. No name of an archive touches the disk before the
 * whole tree stands: then every parent is a directory of ours, and no link is ever written through. What would leave the root,
 * or what programs would read differently from one another, is refused: throws `PlatformError` `image_invalid`.
 */
export class ImageTree {
  readonly #root: DirectoryNode = directoryNode(0);
  readonly #image: string;
  /** directories of which this layer has hidden what lower ones put there */
  readonly #cleared = new Set<DirectoryNode>();
  #layer = 0;
  #entries = 0;

  /** `image` names the archive in messages. */
  constructor(image: string) {
    this.#image = image;
  }

  /** The entries that follow belong to the next layer. */
  nextLayer(): void {
    this.#layer += 1;
    this.#cleared.clear();
  }

  add(entry: LayerEntry): void {
    this.#count(entry.name);
    const names = this.#namesOf(entry.name, entry.name);
    const name = names.pop();
    if (name === undefined) {
      if (entry.kind === "directory") return;
      throw this.#refuse(entry.name, "is the root itself, and not a directory");
    }
    const parent = this.#parentOf(names, entry.name);
    if (name.startsWith(WHITEOUT)) return this.#whiteOut(parent, name, entry.name);
    const before = parent.children.get(name);
    if (entry.kind === "directory") return this.#addDirectory(parent, name, before, entry.name);
    if (before !== undefined && this.#isOfThisLayer(before))
      throw this.#refuse(entry.name, "is in one layer twice");
    parent.children.set(name, this.#leafOf(entry));
  }

  /** Everything below a directory of the image (`[]`: its root), or null when it has no such directory. Checks the size of it all. */
  steps(below: readonly string[]): TreeStep[] | null {
    let top: Node | undefined = this.#root;
    for (const name of below) top = top?.kind === "directory" ? top.children.get(name) : undefined;
    if (top?.kind !== "directory") return null;
    const steps: TreeStep[] = [];
    let bytes = 0;
    const walk = (directory: DirectoryNode, at: string): void => {
      for (const [name, node] of directory.children) {
        const path = at === "" ? name : `${at}/${name}`;
        if (node.kind === "directory") {
          steps.push({ kind: "directory", path });
          walk(node, path);
        } else if (node.kind === "link") steps.push({ kind: "link", path, target: node.target });
        else {
          bytes += node.bytes;
          steps.push({ kind: "file", path, content: node.content, executable: node.executable });
        }
      }
    };
    walk(top, "");
    if (bytes > PACKAGE_LIMITS.bytes || steps.length > PACKAGE_LIMITS.entries)
      throw new PlatformError(
        "image_invalid",
        `Image "${this.#image}" is refused: it holds ${steps.length} entries of ${bytes} bytes, at most ${PACKAGE_LIMITS.entries} and ${PACKAGE_LIMITS.bytes} (2 GB) are allowed`,
        { fix: "build the image with what the tool needs and nothing else" },
      );
    return steps;
  }

  /** Names at the top of the image, for a look at what it is. */
  topOf(below: readonly string[]): string[] {
    let top: Node | undefined = this.#root;
    for (const name of below) top = top?.kind === "directory" ? top.children.get(name) : undefined;
    return top?.kind === "directory" ? [...top.children.keys()] : [];
  }

  /** Counts an entry, or a directory that no entry named. */
  #count(entry: string): void {
    this.#entries += 1;
    if (this.#entries > PACKAGE_LIMITS.entries * 2)
      throw this.#refuse(
        entry,
        `is one entry too many: the layers may hold ${PACKAGE_LIMITS.entries * 2}`,
      );
  }

  #leafOf(entry: LayerEntry): Node {
    if (entry.kind === "symlink") {
      if (entry.target === "" || entry.target.includes("\0") || !isText(entry.target))
        throw this.#refuse(entry.name, "is a link without a proper target");
      if (Buffer.byteLength(entry.target) >= MAX_PATH_BYTES)
        throw this.#refuse(entry.name, "is a link with a target that is too long");
      return { kind: "link", target: entry.target, layer: this.#layer };
    }
    if (entry.kind === "hardlink") {
      const names = this.#namesOf(entry.target, entry.name);
      const name = names.pop() ?? "";
      const target = this.#find(names)?.children.get(name);
      if (target === undefined || target.kind === "directory")
        throw this.#refuse(
          entry.name,
          `is a hard link to ${JSON.stringify(entry.target.slice(0, 200))}, which is no file of the image`,
        );
      return { ...target, layer: this.#layer };
    }
    const { content, bytes, executable } = entry;
    return { kind: "file", content, bytes, executable, layer: this.#layer };
  }

  #addDirectory(
    parent: DirectoryNode,
    name: string,
    before: Node | undefined,
    entry: string,
  ): void {
    if (before?.kind === "directory") {
      before.layer = this.#layer;
      return;
    }
    if (before !== undefined && this.#isOfThisLayer(before))
      throw this.#refuse(entry, "is in one layer twice");
    parent.children.set(name, directoryNode(this.#layer));
  }

  /** A whiteout removes what lower layers put there, and nothing of its own layer. */
  #whiteOut(parent: DirectoryNode, name: string, entry: string): void {
    if (name === OPAQUE) return this.#forgetBelow(parent);
    // Other names of this kind are bookkeeping of a union file system.
    if (name.startsWith(`${WHITEOUT}${WHITEOUT}`)) return;
    const hidden = name.slice(WHITEOUT.length);
    if (hidden === "" || hidden === "." || hidden === "..")
      throw this.#refuse(entry, "is a whiteout of no proper name");
    const node = parent.children.get(hidden);
    if (node === undefined) return;
    if (!this.#isOfThisLayer(node)) parent.children.delete(hidden);
    else if (node.kind === "directory") this.#forgetBelow(node);
  }

  #forgetBelow(directory: DirectoryNode): void {
    // Whatever came since is of this layer.
    if (this.#cleared.has(directory)) return;
    this.#cleared.add(directory);
    for (const [name, node] of directory.children) {
      if (!this.#isOfThisLayer(node)) directory.children.delete(name);
      else if (node.kind === "directory") this.#forgetBelow(node);
    }
  }

  #isOfThisLayer(node: Node): boolean {
    return node.layer === this.#layer;
  }

  /** The directory an entry lies in, made when no entry named it; links on the way are followed inside the root. */
  #parentOf(names: readonly string[], entry: string): DirectoryNode {
    let directory = this.#root;
    const trail: DirectoryNode[] = [this.#root];
    for (const [index, name] of names.entries()) {
      let next = directory.children.get(name);
      if (next === undefined) {
        this.#count(entry);
        next = directoryNode(this.#layer);
        directory.children.set(name, next);
      } else if (next.kind === "link") {
        const target = this.#find(names.slice(0, index + 1));
        if (target === null)
          throw this.#refuse(entry, "would be written through a link that leaves the image");
        next = target;
      } else if (next.kind === "file") throw this.#refuse(entry, "lies below a file");
      directory = next;
      trail.push(next);
    }
    for (const passed of trail) passed.layer = this.#layer;
    return directory;
  }

  /** An existing directory, links followed inside the root; null for everything else, also when `..` would leave the root. */
  #find(names: readonly string[]): DirectoryNode | null {
    const pending = [...names].reverse();
    const at: DirectoryNode[] = [this.#root];
    let links = 0;
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (name === "..") {
        if (at.length === 1) return null;
        at.pop();
        continue;
      }
      const node = at.at(-1)?.children.get(name);
      if (node === undefined || node.kind === "file") return null;
      if (node.kind === "directory") {
        at.push(node);
        continue;
      }
      links += 1;
      if (links > MAX_LINKS) return null;
      if (node.target.startsWith("/")) at.length = 1;
      pending.push(...node.target.split("/").filter(isName).reverse());
    }
    return at.at(-1) ?? null;
  }

  #namesOf(path: string, entry: string): string[] {
    if (path.startsWith("/")) throw this.#refuse(entry, "has an absolute path");
    if (!isText(path)) throw this.#refuse(entry, "has a name that is not UTF-8 text without NUL");
    if (Buffer.byteLength(path) >= MAX_PATH_BYTES)
      throw this.#refuse(entry, "has a path that is too long");
    const names = path.split("/").filter(isName);
    if (names.includes("..")) throw this.#refuse(entry, 'has a path with ".."');
    if (names.some((name) => Buffer.byteLength(name) > MAX_NAME_BYTES))
      throw this.#refuse(entry, "has a name of more than 255 bytes");
    return names;
  }

  #refuse(entry: string, problem: string): PlatformError {
    return imageInvalid(this.#image, entry, problem);
  }
}

/** The refusal of an image for one of its entries. */
export function imageInvalid(image: string, entry: string, problem: string): PlatformError {
  const shown = JSON.stringify(entry.length > 200 ? `${entry.slice(0, 200)}…` : entry);
  return new PlatformError("image_invalid", `Image "${image}" is refused: ${shown} ${problem}`, {
    path: image,
    fix: "build the image again with a tool that you trust; nothing of it was unpacked",
  });
}

function directoryNode(layer: number): DirectoryNode {
  return { kind: "directory", children: new Map(), layer };
}

function isName(part: string): boolean {
  return part !== "" && part !== ".";
}

function isText(text: string): boolean {
  return !text.includes("\0") && !text.includes("\u{FFFD}") && text.isWellFormed();
}
