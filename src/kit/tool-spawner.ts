import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { closeSync } from "node:fs";
import { getSystemErrorName } from "node:util";
import type { SetUpFailure } from "./init-channel.ts";
import { native, nativeProgram, type Watcher } from "./native.ts";
import { errnoOf, PlatformError } from "./platform-error.ts";
import { fixOfRefusal } from "./refusal-fix.ts";
import { insideIdentity } from "./sandbox-arguments.ts";
import { compileSeccomp } from "./seccomp.ts";

/** What happens to one sandbox, as tool-spawner sees it. */
export interface SpawnEvents {
  /** it could not be started, or a bind of it could not be opened; `onGone` may still follow */
  onFailed(failure: SetUpFailure): void;
  /** its pid 1 was reaped, so no process of it is left; the last event */
  onGone(): void;
  /** tool-spawner is gone, and the kernel ends the sandbox; the last event */
  onLost(): void;
}

export interface NewSandbox {
  template: number;
  /** its call brings no binds and no files */
  isComplete: boolean;
  hostname: string;
  ports: readonly number[];
  tmpfs: readonly { path: string; bytes: number; inodes: number; mode: number }[];
  /** null: they are told later, by `bind` */
  binds: readonly SpawnBind[] | null;
  /** the sandbox's end of its control socket; stays the caller's */
  control: number;
  /** opened `cgroup.procs` that its pid 1 joins; stay the caller's */
  groups: readonly number[];
}

export interface SpawnBind {
  source: string;
  target: string;
  writable: boolean;
  /** no link is followed on the way to the source */
  exact: boolean;
}

/** As root, each runner's sandboxes get uids from a range of its own, above what distributions and container engines hand out. */
const DEDICATED_UIDS = { first: 0x7000_0000, ranges: 0x1_0000, each: 256 };
const TEMPLATES = 48;
const TEMPLATE_FAILURE = 0x8000_0000;
/** Messages that wait while tool-spawner is busy; each is a call of ours, so callers are bounded before. */
const MAX_WAITING = 4096;
const WRITABLE = 1;
const EXACT = 2;

/**
 * The helper process that starts the sandboxes of tool calls, so that this process never forks for one. It ends with this process,
 * and its sandboxes end with it. docs/architecture.md has the messages.
 */
export class ToolSpawner implements Disposable {
  readonly #child: ChildProcess;
  readonly #socket: number;
  readonly #watcher: Watcher;
  readonly #sandboxes = new Map<number, SpawnEvents>();
  readonly #idle = new Set<number>();
  readonly #templates = new Map<string, number>();
  readonly #waiting: { message: Buffer; descriptors: number[] }[] = [];
  #lastId = 0;
  #closed = false;
  /** why it ended, when it said so */
  #fault: SetUpFailure | undefined;
  #templateFailure: SetUpFailure | undefined;

  constructor(program = nativeProgram("tool-spawner")) {
    const [ours, theirs] = native().socketPair();
    const filters = native().sealedFile("filters", bothFilters());
    const { first, ranges, each } = DEDICATED_UIDS;
    try {
      const { uid, gid } = insideIdentity();
      const words = [first + each * randomInt(ranges), uid, gid].map(String);
      this.#child = spawn(program, words, {
        env: {},
        cwd: "/",
        stdio: ["ignore", "ignore", "ignore", theirs, filters],
      });
    } catch (error) {
      closeSync(ours);
      throw error;
    } finally {
      closeSync(theirs);
      closeSync(filters);
    }
    // What cannot be started is seen as the end of the socket.
    this.#child.on("error", () => {});
    this.#child.unref();
    this.#socket = ours;
    this.#watcher = new (native().Watcher)(ours, () => this.#onEvent());
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** host pid; its descendants are every sandbox */
  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** The slot of a template, built by `text` when it is not there yet. */
  template(key: string, text: () => Buffer): number {
    const known = this.#templates.get(key);
    if (known !== undefined) {
      // Most recently used last.
      this.#templates.delete(key);
      this.#templates.set(key, known);
      return known;
    }
    const bytes = text();
    const [oldest] = this.#templates.size < TEMPLATES ? [] : this.#templates;
    const slot = oldest?.[1] ?? this.#templates.size;
    if (oldest !== undefined) this.#templates.delete(oldest[0]);
    const file = native().sealedFile("template", bytes);
    try {
      this.#send("T", slot, Buffer.alloc(0), [file]);
    } finally {
      closeSync(file);
    }
    this.#templates.set(key, slot);
    return slot;
  }

  /** Asks for a sandbox; its number for the other calls. Throws `PlatformError` `sandbox_unavailable` when the helper is gone. */
  start(order: NewSandbox, events: SpawnEvents): number {
    this.#lastId = (this.#lastId % (TEMPLATE_FAILURE - 1)) + 1;
    const id = this.#lastId;
    this.#send("N", id, orderBytes(order), [order.control, ...order.groups]);
    this.#sandboxes.set(id, events);
    return id;
  }

  /** How many sandboxes wait without a root, for calls of any kind; more than that end. */
  keepBlanks(count: number): void {
    this.#send("W", count, Buffer.alloc(0));
  }

  /** Takes in now what the helper has said, also about idle sandboxes. */
  hear(): void {
    this.#receive();
  }

  /** An idle sandbox waits for its call, and its end is heard only when another's is: it keeps no process alive. */
  idle(id: number, isIdle: boolean): void {
    if (isIdle && this.#sandboxes.has(id)) this.#idle.add(id);
    else this.#idle.delete(id);
    this.#watch();
  }

  /** Opens a prepared sandbox's binds and gives them to it. */
  bind(id: number, binds: readonly SpawnBind[]): void {
    this.#send("B", id, bindBytes(binds));
  }

  /** SIGKILL to a sandbox's pid 1, and so to all of it. Harmless when it is gone. */
  kill(id: number): void {
    if (!this.#closed && this.#sandboxes.has(id)) this.#send("K", id, Buffer.alloc(0));
  }

  /** Ends the helper and every sandbox. Safe to call twice. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watcher.close();
    closeSync(this.#socket);
    for (const { descriptors } of this.#waiting.splice(0)) descriptors.forEach(closeSync);
    const left = [...this.#sandboxes.values()];
    this.#sandboxes.clear();
    this.#idle.clear();
    for (const events of left) {
      if (this.#fault !== undefined) events.onFailed(this.#fault);
      events.onLost();
    }
  }

  #send(kind: string, about: number, rest: Buffer, descriptors: readonly number[] = []): void {
    const head = Buffer.alloc(5, kind, "latin1");
    head.writeUInt32LE(about, 1);
    const message = Buffer.concat([head, rest]);
    if (this.#closed) throw gone(this.#fault);
    if (this.#waiting.length > 0) return this.#wait(message, descriptors);
    try {
      native().send(this.#socket, message, descriptors);
    } catch (error) {
      if (errnoOf(error) === "EAGAIN") return this.#wait(message, descriptors);
      if (errnoOf(error) === "EMSGSIZE") throw tooLarge(message.length);
      this.#receive();
      this[Symbol.dispose]();
      throw gone(this.#fault);
    }
  }

  /** Keeps a message until the socket takes it, with descriptors of its own: the caller closes those it gave. */
  #wait(message: Buffer, descriptors: readonly number[]): void {
    if (this.#waiting.length >= MAX_WAITING) throw gone(undefined);
    const kept = descriptors.map((descriptor) => native().duplicate(descriptor));
    this.#waiting.push({ message, descriptors: kept });
    this.#watch();
  }

  #flush(): void {
    for (
      let next = this.#waiting[0];
      next !== undefined && !this.#closed;
      next = this.#waiting[0]
    ) {
      try {
        native().send(this.#socket, next.message, next.descriptors);
      } catch (error) {
        if (errnoOf(error) !== "EAGAIN") this[Symbol.dispose]();
        return;
      }
      this.#waiting.shift();
      next.descriptors.forEach(closeSync);
    }
  }

  /** An idle helper keeps nobody alive. */
  #watch(): void {
    if (this.#closed) return;
    const isReading = this.#sandboxes.size > this.#idle.size || this.#waiting.length > 0;
    this.#watcher.watch((isReading ? 1 : 0) | (this.#waiting.length > 0 ? 2 : 0));
  }

  #onEvent(): void {
    this.#receive();
    this.#flush();
    this.#watch();
  }

  #receive(): void {
    while (!this.#closed) {
      const message = native().receive(this.#socket);
      if (message === null) return;
      if (message.data.length === 0) return this[Symbol.dispose]();
      for (const stray of message.descriptors) closeSync(stray);
      this.#dispatch(message.data);
    }
  }

  #dispatch(data: Buffer): void {
    const kind = String.fromCharCode(data[0] ?? 0);
    if (kind === "O" && data.length === 1) return;
    const about = data.length >= 5 ? data.readUInt32LE(1) : 0;
    const events = this.#sandboxes.get(about);
    if (kind === "G" && data.length === 9) {
      this.#sandboxes.delete(about);
      this.#idle.delete(about);
      events?.onGone();
    } else if (kind === "E" && data.length > 9) {
      const [step = "", path = ""] = data.toString("utf8", 9).split("\0");
      const failure = { errno: getSystemErrorName(-data.readUInt32LE(5)), step, path };
      if (about === 0) this.#fault = failure;
      else if (about >= TEMPLATE_FAILURE) this.#onTemplateFailed(about - TEMPLATE_FAILURE, failure);
      // A sandbox whose template failed says only that; why it did was said before.
      else if (failure.path === "template") events?.onFailed(this.#templateFailure ?? failure);
      else events?.onFailed(failure);
    } else {
      this[Symbol.dispose]();
    }
  }

  #onTemplateFailed(slot: number, failure: SetUpFailure): void {
    this.#templateFailure = failure;
    for (const [key, each] of this.#templates) if (each === slot) this.#templates.delete(key);
  }
}

function gone(fault: SetUpFailure | undefined): PlatformError {
  if (fault === undefined)
    return new PlatformError(
      "sandbox_start_failed",
      "The process that starts sandboxes has ended",
      {
        retryable: true,
        fix: "try again; run agentkube doctor when it happens again",
      },
    );
  return new PlatformError(
    "sandbox_unavailable",
    `Sandboxes cannot be made here: ${fault.step} failed with ${fault.errno}`,
    { fix: fixOfRefusal(fault) ?? "run agentkube doctor to see what this machine lacks" },
  );
}

function tooLarge(bytes: number): PlatformError {
  return new PlatformError(
    "request_too_large",
    `The description of a sandbox is ${bytes} bytes, more than one message can hold`,
    { fix: "use fewer binds" },
  );
}

function orderBytes(order: NewSandbox): Buffer {
  const { template, isComplete, hostname, ports, tmpfs, binds } = order;
  const head = Buffer.alloc(5);
  head.writeUInt32LE(template, 0);
  head.writeUInt8(isComplete ? 1 : 0, 4);
  const parts: Buffer[] = [head, Buffer.from(`${hostname}\0`), Buffer.from([ports.length])];
  for (const port of ports) parts.push(Buffer.from([port & 0xff, port >> 8]));
  parts.push(Buffer.from([tmpfs.length]));
  for (const { path, bytes, inodes, mode } of tmpfs) {
    const facts = Buffer.alloc(14);
    facts.writeBigUInt64LE(BigInt(bytes), 0);
    facts.writeUInt32LE(inodes, 8);
    facts.writeUInt16LE(mode, 12);
    parts.push(facts, Buffer.from(`${path}\0`));
  }
  if (binds !== null && binds.length > 0) parts.push(bindBytes(binds));
  return Buffer.concat(parts);
}

function bindBytes(binds: readonly SpawnBind[]): Buffer {
  const count = Buffer.alloc(2);
  count.writeUInt16LE(binds.length);
  const each = binds.map(({ source, target, writable, exact }) =>
    Buffer.concat([
      Buffer.from([(writable ? WRITABLE : 0) | (exact ? EXACT : 0)]),
      Buffer.from(`${source}\0${target}\0`),
    ]),
  );
  return Buffer.concat([count, ...each]);
}

/** The filter of everything in the sandbox, then the one that only the tool gets, each after its number of instructions. */
function bothFilters(): Buffer {
  return Buffer.concat(
    (["tool-init", "tool"] as const).flatMap((profile) => {
      const filter = compileSeccomp(profile);
      const count = Buffer.alloc(4);
      count.writeUInt32LE(filter.length / 8);
      return [count, filter];
    }),
  );
}
