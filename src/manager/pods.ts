import { randomBytes, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import * as z from "zod";
import { parseJson } from "../kit/json-lines.ts";
import { errnoOf, PlatformError } from "../kit/platform-error.ts";
import { mintToken, tokenHash } from "../kit/token.ts";
import { RegisterRun } from "../protocol/manager-api.ts";
import { BootRequest, PodOfRun, type RegisterPod, type PodRole } from "../protocol/pod-boot.ts";
import { requireProtocol } from "../protocol/version.ts";
import { writeAtomically } from "./durable-file.ts";
import { readBody } from "./reply.ts";
import type { Run } from "./run.ts";
import type { Runs } from "./runs.ts";
import type { TokenReviews } from "./token-review.ts";

const Token = z.string().min(32);
/** `pod.json` beside `run.json`, 0600: what the containers of a pod are given. They may start again at any time. */
const PodFile = z.strictObject({
  tokenHashes: RegisterRun.shape.tokenHashes
    .optional()
    .describe("of the containers' own tokens; without it the API server says whose a token is"),
  pod: PodOfRun.optional(),
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
  readonly #reviews: TokenReviews | null;
  /** One pinning of a pod after the other: two containers must not both be the first. */
  #order: Promise<unknown> = Promise.resolve();

  /** `reviews` null: there is no API server to ask, and tokens are known by their hashes only. */
  constructor(runs: Runs, dataDir: string, reviews: TokenReviews | null) {
    this.#runs = runs;
    this.#dataDir = dataDir;
    this.#reviews = reviews;
  }

  /** Takes in a run whose pod is about to be made. The same request again gives the same run. Throws `PlatformError`. */
  async register(request: RegisterPod): Promise<Run> {
    if (request.pod !== undefined && this.#reviews === null)
      throw new PlatformError("bad_request", "This manager has no API server to review tokens", {
        fix: "start it with --pod-tokens kubernetes, or give tokenHashes",
      });
    const known = this.#runs.get(request.run);
    const file = known === undefined ? null : await this.#read(request.run);
    if (known !== undefined) {
      const isSame =
        JSON.stringify(file?.tokenHashes) === JSON.stringify(request.tokenHashes) &&
        file?.pod?.namespace === request.pod?.namespace &&
        file?.pod?.name === request.pod?.name &&
        (request.pod?.uid ?? file?.pod?.uid) === file?.pod?.uid;
      if (known.isLive && isSame) return known;
      throw new PlatformError("run_exists", `Run "${request.run}" exists already`, {
        fix: "give the run an id of its own with agentkube pod --run",
      });
    }
    const tokens: PodFile = {
      ...(request.tokenHashes === undefined ? {} : { tokenHashes: request.tokenHashes }),
      ...(request.pod === undefined ? {} : { pod: request.pod }),
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
    const isTheirs =
      file?.pod === undefined
        ? isHashed(given ?? "", file?.tokenHashes?.[role])
        : await this.#isOfPod(id, file.pod, { token: given ?? "", role });
    if (run === undefined || file === null || !isTheirs || !run.isLive)
      throw new PlatformError("unauthorized", "Expected the token of a container of a live run");
    requireProtocol(`the ${role}`, protocol);
    if (role !== "agentlet") await run.useKey(role, key);
    return answerOf(role, file);
  }

  /** Whether the API server finds this run's pod in the token, with the audience of the role. The first one that comes pins the pod. */
  async #isOfPod(
    id: string,
    pod: PodOfRun,
    { token, role }: { token: string; role: PodRole },
  ): Promise<boolean> {
    if (this.#reviews === null)
      throw new PlatformError("unavailable", "This manager has no API server to review tokens", {
        fix: "start it with --pod-tokens kubernetes",
      });
    const found = await this.#reviews.review(token, `agentkube-${role}`);
    const isNamed =
      found !== null &&
      found.namespace === pod.namespace &&
      found.serviceAccount === pod.serviceAccount &&
      found.pod === pod.name;
    if (!isNamed) return false;
    const turn = this.#order.then(async () => {
      const file = await this.#read(id);
      if (file?.pod === undefined) return false;
      if (file.pod.uid !== undefined) return file.pod.uid === found.uid;
      const pinned: PodFile = { ...file, pod: { ...file.pod, uid: found.uid } };
      await writeAtomically(this.#path(id), `${JSON.stringify(pinned)}\n`);
      return true;
    });
    this.#order = turn.catch(() => undefined);
    return await turn;
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

function isHashed(token: string, hash = "0".repeat(64)): boolean {
  return timingSafeEqual(Buffer.from(tokenHash(token), "hex"), Buffer.from(hash, "hex"));
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
