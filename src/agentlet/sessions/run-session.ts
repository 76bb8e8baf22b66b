import { PlatformError, messageOf } from "../../kit/platform-error.ts";
import type { Sandbox } from "../../kit/sandbox.ts";
import type { Driver } from "../drivers/driver.ts";
import type { Report } from "../report-socket.ts";
import type { RunContext } from "../run-life.ts";
import { NODE_IN_ZONE } from "../drivers/hooks.ts";
import { keepSession } from "./keep-session.ts";
import { restoreSession } from "./restore-session.ts";

/** The CLI's session of one run: the older one that it goes on with, and what is kept of it for a later one. */
export class RunSession {
  readonly #context: RunContext;
  readonly #driver: Driver;
  /** as the CLI told it last: after a reset it goes on under another name */
  #name: string | null;

  constructor(context: RunContext, driver: Driver) {
    this.#context = context;
    this.#driver = driver;
    this.#name = driver.session?.name ?? null;
  }

  /** A report of zone A may name the session. */
  told(report: Report): void {
    this.#name = this.#driver.sessionOf?.(report) ?? this.#name;
  }

  /** Before the CLI starts. Throws `resume_failed`. */
  async restore(sandbox: Sandbox): Promise<void> {
    const { spec, notice } = this.#context;
    if (spec.resume === undefined) return;
    const { run, session } = spec.resume;
    const { session: driver } = this.#driver;
    if (driver === undefined)
      throw new PlatformError("resume_failed", `No session of ${spec.agent.runtime} is ever kept`);
    const { agentToken } = this.#context.boot;
    await restoreSession({ sandbox, node: NODE_IN_ZONE }, { driver, session, agentToken });
    notice(`It goes on with session ${session} of run ${run}`);
  }

  /** After the CLI's end, while its zone stands. Never rejects: a run ends as it did, with its session kept or not. */
  async keep(sandbox: Sandbox): Promise<void> {
    const { spec, boot, stop, notice, log } = this.#context;
    const { session: driver } = this.#driver;
    const session = this.#name;
    // A zone that had no memory left was killed, and its HOME with it.
    if (driver === undefined || session === null || stop.stop?.reason === "out_of_memory") return;
    const { agentToken, modelKey } = boot;
    const secrets = [agentToken];
    if (modelKey !== undefined) secrets.push(Buffer.from(modelKey, "base64").toString());
    try {
      const what = { spec, driver, session, secrets };
      const kept = await keepSession({ sandbox, node: NODE_IN_ZONE }, what);
      log.info({ files: kept?.files ?? 0, bytes: kept?.bytes ?? 0 }, "session kept");
    } catch (error) {
      notice(`The CLI's session is not kept and cannot be resumed: ${messageOf(error)}`);
    }
  }
}
