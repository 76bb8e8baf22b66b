import { rm } from "node:fs/promises";
import { basename, join } from "node:path";
import * as z from "zod";
import { parseJson } from "../kit/json-lines.ts";
import type { Log } from "../kit/log.ts";
import { PlatformError } from "../kit/platform-error.ts";
import { shellWord } from "../kit/shell-word.ts";
import { AgentletEvent } from "../protocol/agentlet-link.ts";
import { AuditRecord } from "../protocol/audit.ts";
import type { FinishRun, RegisterRun } from "../protocol/manager-api.ts";
import type { RegisterPod } from "../protocol/pod-boot.ts";
import { requireProtocol } from "../protocol/version.ts";
import { durableSizeOf } from "./durable-file.ts";
import type { Identity } from "./identity.ts";
import { readJournal } from "./journal.ts";
import { Run } from "./run.ts";
import type { RunRecord, RunStore } from "./run-store.ts";
import { endWithSpool, sealRun } from "./seal-recording.ts";
import { processStart } from "../kit/process-alive.ts";

const MARKER = "The recording ends here: its recorder could not finish it";
const MEASURE_MS = 5000;
const MEASURE_MARGIN = 1024 ** 3;
const Sequenced = z.looseObject({ seq: z.int() });

/** All runs of the data directory. */
export class Runs {
  readonly #runs = new Map<string, Run>();
  readonly #store: RunStore;
  readonly #dataDir: string;
  readonly #capBytes: number;
  readonly #identity: Identity;
  readonly #log: Log;
  #measured = { bytes: 0, at: Number.NEGATIVE_INFINITY };
  readonly #finishing = new Map<Run, Promise<void>>();
  /** Registrations one after the other: two of the same run must not both be the first. */
  #order: Promise<unknown> = Promise.resolve();

  constructor(options: {
    store: RunStore;
    dataDir: string;
    capBytes: number;
    identity: Identity;
    log: Log;
  }) {
    this.#store = options.store;
    this.#dataDir = options.dataDir;
    this.#capBytes = options.capBytes;
    this.#identity = options.identity;
    this.#log = options.log;
  }

  /** Reads what an earlier manager left. A run that was live goes on: its parts connect again. */
  async load(): Promise<void> {
    for (const record of await this.#store.load()) {
      const run = new Run(record, this.#store, this.#identity);
      this.#runs.set(run.id, run);
      if (run.isLive) await this.#revive(run, record);
      await run.shells.load();
    }
  }

  get(id: string): Run | undefined {
    const run = this.#runs.get(id);
    // prune may have removed it under us.
    if (run === undefined || run.isLive || this.#store.has(id)) return run;
    this.#runs.delete(id);
    return undefined;
  }

  /** The newest first. */
  list(): Run[] {
    const ids = [...this.#runs.keys()];
    return ids
      .flatMap((id) => this.get(id) ?? [])
      .sort((a, b) => b.info.startedAt.localeCompare(a.info.startedAt));
  }

  get live(): Run[] {
    return [...this.#runs.values()].filter((run) => run.isLive);
  }

  /** Takes a new run in. The same request again gives the same run. Throws `PlatformError`. */
  async register(request: RegisterRun): Promise<Run> {
    requireProtocol("the supervisor", request.protocol);
    const turn = this.#order.then(async () => await this.#register(request));
    this.#order = turn.catch(() => undefined);
    return await turn;
  }

  /** Takes in a run whose parts are containers of a pod: nothing of it is on this machine. */
  async registerPod(request: RegisterPod, tokenHashes: RegisterRun["tokenHashes"]): Promise<Run> {
    requireProtocol("the maker of the pod", request.protocol);
    const turn = this.#order.then(async () => {
      await this.#checkRoom();
      // Directories that never exist: there is nothing of a pod to remove here.
      const nowhere = join(this.#dataDir, "spool", request.run);
      return await this.#take({
        ...recordOf({
          ...request,
          tokenHashes,
          supervisorPid: process.pid,
          runtimeDir: nowhere,
          spoolDir: nowhere,
        }),
        pod: true,
      });
    });
    this.#order = turn.catch(() => undefined);
    return await turn;
  }

  /** Ends a run with what its supervisor says. A run that has ended keeps its end. */
  async finish(run: Run, request: FinishRun): Promise<void> {
    if (!run.isLive) return;
    const running = this.#finishing.get(run);
    if (running !== undefined) return await running;
    const turn = this.#finish(run, request).finally(() => this.#finishing.delete(run));
    this.#finishing.set(run, turn);
    await turn;
  }

  /** Removes a run for good. Throws `PlatformError` when it is live or its recording is not verified. */
  async remove(run: Run): Promise<void> {
    if (run.isLive)
      throw new PlatformError("run_live", `Run "${run.id}" is live`, {
        fix: `stop it with agentkube stop ${run.id}`,
      });
    if (run.info.recording?.verified === false)
      throw new PlatformError(
        "run_unverified",
        `The recording of run "${run.id}" is not verified`,
        {
          fix: "remove its directory yourself if you do not need it",
          path: this.#store.directory(run.id),
        },
      );
    this.#runs.delete(run.id);
    await this.#store.remove(run.id);
  }

  async closeFiles(): Promise<void> {
    for (const run of this.#runs.values()) await run.closeFiles();
  }

  async #register(request: RegisterRun): Promise<Run> {
    const known = this.#runs.get(request.run);
    if (known !== undefined) return sameRun(known, request);
    this.#checkPaths(request);
    await this.#checkRoom();
    return await this.#take(recordOf(request));
  }

  async #take(facts: RunRecord): Promise<Run> {
    if (this.#runs.has(facts.info.run))
      throw new PlatformError("run_exists", `Run "${facts.info.run}" exists already`);
    const record = { ...facts, managerKey: this.#identity.publicKey };
    const run = new Run(record, this.#store, this.#identity);
    await this.#store.create(run.record);
    this.#runs.set(run.id, run);
    this.#log.info({ run: run.id, agent: record.info.agent }, "run registered");
    return run;
  }

  /** The manager removes these directories when it has to close the run itself: they must be what they are meant to be. */
  #checkPaths({ run, runtimeDir, spoolDir }: RegisterRun): void {
    if (spoolDir !== join(this.#dataDir, "spool", run))
      throw new PlatformError(
        "bad_request",
        `Expected spoolDir "${join(this.#dataDir, "spool", run)}", got "${spoolDir}"`,
        { fix: "register the run at the manager of its own data directory" },
      );
    if (!/^agentkube-[A-Za-z0-9]{6,}$/.test(basename(runtimeDir)) || runtimeDir.includes("/../"))
      throw new PlatformError(
        "bad_request",
        `Expected a runtimeDir whose last part is agentkube-XXXXXX, got "${runtimeDir}"`,
      );
  }

  async #finish(run: Run, { end, recording }: FinishRun): Promise<void> {
    await run.settled();
    // What its spool has beyond ours is taken over; the hash that the recorder made has to be that of our bytes.
    const left = await sealRun(run, {
      marker: MARKER,
      verifies: ({ bytes, sha256 }) => recording?.sha256 === sha256 && recording.bytes === bytes,
      log: this.#log,
    });
    await run.end(endWithSpool(end, left, run.record.spoolDir));
    if (run.info.recording?.verified === true && left === null)
      await rm(run.record.spoolDir, { recursive: true, force: true });
    this.#log.info({ run: run.id, outcome: end.outcome, reason: end.reason }, "run ended");
  }

  async #checkRoom(): Promise<void> {
    // Far below the cap, a measure of a moment ago will do: many runs may start at once.
    const { bytes: last, at } = this.#measured;
    if (last + MEASURE_MARGIN < this.#capBytes && performance.now() - at < MEASURE_MS) return;
    const bytes = await this.#store.size();
    this.#measured = { bytes, at: performance.now() };
    if (bytes < this.#capBytes) return;
    throw new PlatformError(
      "data_full",
      `Data directory "${this.#dataDir}" holds ${gibibytes(bytes)} of at most ${gibibytes(this.#capBytes)}; no new run is taken`,
      { fix: `run agentkube prune --data ${shellWord(this.#dataDir)}`, path: this.#dataDir },
    );
  }

  /** Works out state and calls again from the journals: run.json is written less often. */
  async #revive(run: Run, record: RunRecord): Promise<void> {
    record.info.calls = [];
    for await (const line of readJournal(run.file("events.jsonl"), 1)) {
      const read = this.#read("event", AgentletEvent, line);
      if (read !== null) run.noteEvent(read.seq, read.value);
    }
    for await (const line of readJournal(run.file("audit.jsonl"), 1)) {
      const read = this.#read("audit record", AuditRecord, line);
      if (read !== null) run.noteAudit(read.value);
    }
    // Opened, and hashed, when its recorder is admitted: a manager with many long ones must answer at once.
    run.setCommittedBytes(await durableSizeOf(run.recordingPath));
    if (record.stopAskedBy !== null) run.relay.stop(record.stopAskedBy);
    this.#log.info({ run: run.id, phase: run.info.phase }, "run taken up again");
  }

  #read<T>(what: string, schema: z.ZodType<T>, line: string): { seq: number; value: T } | null {
    try {
      const { seq, ...value } = parseJson(what, Sequenced, line);
      return { seq, value: schema.parse(value) };
    } catch (error) {
      this.#log.warn({ err: error }, "line of a journal cannot be read, passed over");
      return null;
    }
  }
}

function sameRun(known: Run, request: RegisterRun): Run {
  const same =
    known.isLive &&
    JSON.stringify(known.record.tokenHashes) === JSON.stringify(request.tokenHashes) &&
    known.info.supervisorPid === request.supervisorPid;
  if (same) return known;
  throw new PlatformError("run_exists", `Run "${request.run}" exists already`, {
    fix: "start the run again; it gets an id of its own",
  });
}

/** What a registration says of a run; the runner of a pod tells its key later. */
type RunFacts = Omit<RegisterRun, "runnerKey"> & { runnerKey?: string };

function recordOf(request: RunFacts): RunRecord {
  return {
    info: {
      run: request.run,
      agent: request.agent,
      runtime: request.runtime,
      mode: request.mode,
      terminal: request.terminal,
      interactive: request.interactive,
      ...(request.resumes === undefined ? {} : { resumes: request.resumes }),
      supervisorPid: request.supervisorPid,
      phase: "starting",
      state: "starting",
      startedAt: new Date().toISOString(),
      endedAt: null,
      end: null,
      recording: null,
      committedBytes: 0,
      calls: [],
    },
    tokenHashes: {
      agentlet: request.tokenHashes.agentlet,
      recorder: request.tokenHashes.recorder,
      runner: request.tokenHashes.runner,
    },
    runtimeDir: request.runtimeDir,
    spoolDir: request.spoolDir,
    supervisorStart: processStart(request.supervisorPid),
    epochs: { agentlet: 0, recorder: 0, runner: 0 },
    stopAskedBy: null,
    ...(request.runnerKey === undefined ? {} : { runnerKey: request.runnerKey }),
    ...(request.recorderKey === undefined ? {} : { recorderKey: request.recorderKey }),
  };
}

function gibibytes(bytes: number): string {
  return bytes < 1024 ** 2 ? `${bytes} B` : `${(bytes / 1024 ** 3).toFixed(2)} GiB`;
}
