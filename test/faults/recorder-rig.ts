// The real recorder and the real manager, each a process, fed by the agentlet's own link: for faults of what they stand on.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import timers from "node:timers/promises";
import { until } from "../helpers/until.ts";
import { RecorderLink } from "../../src/agentlet/recorder-link.ts";
import { silentLog } from "../../src/kit/log.ts";
import { createSigningKey } from "../../src/kit/signing.ts";
import { verifyAsciicast } from "../../src/protocol/asciicast-verify.ts";
import { rawBytesOf } from "../../src/protocol/asciicast.ts";
import { verifyProofs } from "../../src/protocol/recording-proof-verify.ts";
import { stormOutput } from "../fixtures/storm-output.ts";
import { freePort, RealManager } from "../helpers/real-manager.ts";
import { registration } from "../manager/seed.ts";
import { RecorderProcess } from "../recorder/helpers/recorder-process.ts";
import { aRun } from "../recorder/helpers/run-spec.ts";
import type { TestRun } from "../recorder/helpers/run-spec.ts";

const TICK_MS = 10;

export interface RigOptions {
  /** how each recorder is started, counted from 1; `wrap` and `env` as `RecorderProcess.start` takes them */
  recorder?: (life: number) => { wrap?: string[]; env?: Record<string, string> };
  managerEnv?: Record<string, string>;
  /** where all spools lie, and the manager's data; directories of the rig unless given */
  spools?: string;
  data?: string;
}

export class RecorderRig implements AsyncDisposable {
  readonly run: TestRun;
  readonly data: string;
  readonly port: number;
  readonly link: RecorderLink;
  readonly publicKey: string;
  manager: RealManager;
  recorder: RecorderProcess;
  /** recorders started so far */
  lives = 1;
  #options: RigOptions;
  #stack: AsyncDisposableStack;
  #said = 0;
  #full = false;
  #speaking = true;
  #finished = false;
  readonly #speech: Promise<void>;
  readonly #keeping: Promise<void>;

  private constructor(
    options: RigOptions,
    stack: AsyncDisposableStack,
    parts: Pick<RecorderRig, "run" | "data" | "port" | "publicKey" | "manager" | "recorder">,
  ) {
    this.#options = options;
    this.#stack = stack;
    this.run = parts.run;
    this.data = parts.data;
    this.port = parts.port;
    this.publicKey = parts.publicKey;
    this.manager = parts.manager;
    this.recorder = parts.recorder;
    const since = process.hrtime.bigint();
    this.link = stack.use(
      new RecorderLink({
        socket: this.run.spec.sockets.recorder,
        token: this.run.boot.agentletToken,
        clock: () => Number((process.hrtime.bigint() - since) / 1000n),
        onFull: (full) => (this.#full = full),
        log: silentLog,
      }),
    );
    this.#speech = this.#speak();
    this.#keeping = this.#keep();
  }

  static async open(options: RigOptions = {}): Promise<RecorderRig> {
    const stack = new AsyncDisposableStack();
    const root = mkdtempSync(path.join(tmpdir(), "akrig-"));
    stack.defer(() => rmSync(root, { recursive: true, force: true }));
    const data = options.data ?? path.join(root, "data");
    const port = await freePort();
    const manager = await RealManager.start(data, port, options.managerEnv);
    const run = stack.use(
      await aRun({
        managerUrl: `http://127.0.0.1:${port}`,
        ...(options.spools === undefined ? {} : { spools: options.spools }),
      }),
    );
    const key = createSigningKey();
    run.boot.signingSeed = key.seed();
    const hashOf = (token: string): string => createHash("sha256").update(token).digest("hex");
    const { body } = registration(data, {
      run: run.spec.run,
      spoolDir: path.join(data, "spool", run.spec.run),
      recorderKey: key.publicKey,
      tokenHashes: {
        agentlet: hashOf(run.boot.agentletToken),
        recorder: hashOf(run.boot.recorderToken),
        runner: hashOf(run.boot.runnerToken),
      },
    });
    await manager.register(body);
    const recorder = await RecorderProcess.start(run, options.recorder?.(1));
    const { publicKey } = key;
    return new RecorderRig(options, stack, { run, data, port, publicKey, manager, recorder });
  }

  /** The manager's file. */
  get cast(): string {
    return path.join(this.data, "runs", this.run.spec.run, "recording.cast");
  }

  /** Bytes that the terminal gave so far. */
  get given(): number {
    return this.link.outputOffset;
  }

  async restartManager(): Promise<void> {
    this.manager = await RealManager.start(this.data, this.port, this.#options.managerEnv);
  }

  /** Waits until so many more bytes were given than now. */
  async goOn(bytes: number): Promise<void> {
    const target = this.given + bytes;
    await until(`${bytes} more bytes`, () => this.given >= target, 60_000);
  }

  /** Ends the session, waits until it is verified, and compares what the manager has with what was given. */
  async finish(): Promise<void> {
    this.#speaking = false;
    await this.#speech;
    assert.equal(await this.link.exit(0), "sealed");
    await until("a verified recording", () => this.recorder.sealed() !== null, 60_000);
    this.#finished = true;
    assert.equal(this.recorder.sealed()?.verified, true, this.recorder.log);
    await this.#keeping;
    await this.compare();
    const proofs = this.cast.replace(".cast", ".proofs.jsonl");
    const keys = { recorderKey: this.publicKey, session: this.run.spec.run };
    const checked = await verifyProofs(proofs, this.cast, keys);
    assert.deepEqual(checked?.problems, []);
    assert.equal(checked?.proof.ended, true);
  }

  /** The recording has exactly what was given, or, when told so, a beginning of it. */
  async compare(file = this.cast, { whole = true } = {}): Promise<number> {
    assert.deepEqual((await verifyAsciicast(file)).problems, []);
    const recorded = createHash("sha256");
    let length = 0;
    for await (const bytes of rawBytesOf(file)) {
      recorded.update(bytes);
      length += bytes.length;
    }
    const given = createHash("sha256");
    let left = length;
    for (let piece = 0; left > 0 && piece < this.#said; piece += 1) {
      const bytes = stormOutput(0, piece).subarray(0, left);
      given.update(bytes);
      left -= bytes.length;
    }
    if (whole) assert.equal(length, this.given);
    assert.equal(recorded.digest("hex"), given.digest("hex"), "not the bytes that were given");
    return length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#speaking = false;
    this.#finished = true;
    await this.#speech;
    await this.recorder[Symbol.asyncDispose]();
    await this.#keeping;
    await this.manager.kill();
    await this.#stack.disposeAsync();
  }

  async #speak(): Promise<void> {
    while (this.#speaking) {
      if (!this.#full) {
        this.link.output(stormOutput(0, this.#said));
        this.#said += 1;
      }
      await timers.setTimeout(TICK_MS);
    }
  }

  /** A recorder that dies is started again, as the supervisor does. */
  async #keep(): Promise<void> {
    for (;;) {
      await this.recorder.exitCode();
      if (this.#finished || this.recorder.sealed() !== null) return;
      this.lives += 1;
      this.recorder = await RecorderProcess.start(this.run, this.#options.recorder?.(this.lives));
    }
  }
}
