import { randomBytes, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import * as z from "zod";
import { parseJson } from "../kit/json-lines.ts";
import { errnoOf, PlatformError } from "../kit/platform-error.ts";
import { mintToken, tokenHash } from "../kit/token.ts";
import { RegisterRun } from "../protocol/manager-api.ts";
import { BootRequest, type RegisterPod, type PodRole } from "../protocol/pod-boot.ts";
import { requireProtocol } from "../protocol/version.ts";
import { writeAtomically } from "./durable-file.ts";
import { readBody } from "./reply.ts";
import type { Run } from "./run.ts";
import type { Runs } from "./runs.ts";

const Token = z.string().min(32);
/** `pod.json` beside `run.json`, 0600: what the containers of a pod are given. They may start again at any time. */
const PodFile = z.strictObject({
  tokenHashes: RegisterRun.shape.tokenHashes.describe("of the containers' own tokens"),
  agent: Token,
  agentlet: Token,
  recorder: Token,
  runner: Token,
  auditKey: z.base64(),
});
type PodFile = z.infer<typeof PodFile>;

/** Runs whose parts are containers: the manager is their supervisor. */
export class Pods {
  readonly #runs: Runs;
  readonly #dataDir: string;

  constructor(runs: Runs, dataDir: string) {
    this.#runs = runs;
    this.#dataDir = dataDir;
  }

  /** Takes in a run whose pod is about to be made. The same request again gives the same run. Throws `PlatformError`. */
  async register(request: RegisterPod): Promise<Run> {
    const known = this.#runs.get(request.run);
    const file = known === undefined ? null : await this.#read(request.run);
    if (known !== undefined) {
      const isSame = JSON.stringify(file?.tokenHashes) === JSON.stringify(request.tokenHashes);
      if (known.isLive && isSame) return known;
      throw new PlatformError("run_exists", `Run "${request.run}" exists already`, {
        fix: "give the run an id of its own with agentkube pod --run",
      });
    }
    const tokens: PodFile = {
      tokenHashes: request.tokenHashes,
      agent: mintToken(),
      agentlet: mintToken(),
      recorder: mintToken(),
      runner: mintToken(),
      auditKey: randomBytes(32).toString("base64"),
    };
    const run = await this.#runs.registerPod(request, {
      agentlet: tokenHash(tokens.agentlet),
      recorder: tokenHash(tokens.recorder),
      runner: tokenHash(tokens.runner),
    });
    await writeAtomically(this.#path(run.id), `${JSON.stringify(tokens)}\n`);
    return run;
  }

  /** Answers a container that shows its own token. Throws `unauthorized` for every other. */
  async boot(request: IncomingMessage, id: string): Promise<unknown> {
    const run = this.#runs.get(id);
    const given = /^Bearer ([\x21-\x7e]{16,16384})$/.exec(request.headers.authorization ?? "")?.[1];
    const file = run === undefined ? null : await this.#read(id);
    const { protocol, role, key } = await readBody(request, "a boot request", BootRequest);
    const expected = file?.tokenHashes[role] ?? "0".repeat(64);
    const isSame = timingSafeEqual(
      Buffer.from(tokenHash(given ?? ""), "hex"),
      Buffer.from(expected, "hex"),
    );
    if (run === undefined || file === null || !isSame || !run.isLive)
      throw new PlatformError("unauthorized", "Expected the token of a container of a live run");
    requireProtocol(`the ${role}`, protocol);
    if (role !== "agentlet") await run.useKey(role, key);
    return answerOf(role, file);
  }

  async #read(id: string): Promise<PodFile | null> {
    try {
      return parseJson("pod.json", PodFile, await readFile(this.#path(id), "utf8"));
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return null;
      throw error;
    }
  }

  #path(id: string): string {
    return join(this.#dataDir, "runs", id, "pod.json");
  }
}

function answerOf(role: PodRole, file: PodFile): unknown {
  const { agent, agentlet, recorder, runner, auditKey } = file;
  switch (role) {
    case "agentlet":
      return { agentletToken: agentlet, agentToken: agent };
    case "recorder":
      return { recorderToken: recorder, agentletToken: agentlet, runnerToken: runner };
    case "runner":
      return { runnerToken: runner, agentToken: agent, auditKey };
  }
}
