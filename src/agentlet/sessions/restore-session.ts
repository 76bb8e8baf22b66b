import { PlatformError, messageOf } from "../../kit/platform-error.ts";
import { KEPT_SESSION_LIMITS } from "../../protocol/kept-session.ts";
import type { DriverSession } from "../drivers/driver.ts";
import { carry } from "./carrier.ts";
import type { CarrierZone } from "./carrier.ts";
import { maskOf } from "./told-files.ts";

/** Where zone A finds the archive of the session that it goes on with. */
export const ARCHIVE_IN_ZONE = "/opt/agentkube/session";

export interface SessionToRestore {
  driver: DriverSession;
  session: string;
  /** of the new run; a CLI that keeps its tools' token in its session gets this one */
  agentToken: string;
}

/** Writes the files of a kept session into HOME, before the CLI starts. Throws `resume_failed`. */
export async function restoreSession(
  zone: CarrierZone,
  { driver, session, agentToken }: SessionToRestore,
): Promise<void> {
  const env: Record<string, string> =
    driver.holdsToken === true
      ? { SESSION_TOKEN_MASK: maskOf(agentToken).toString(), SESSION_TOKEN: agentToken }
      : {};
  const words = ["restore", ARCHIVE_IN_ZONE, String(KEPT_SESSION_LIMITS.bytes)];
  try {
    await carry(zone, { words: [...words, ...driver.files(session)], env, take: () => undefined });
  } catch (error) {
    throw new PlatformError("resume_failed", `Cannot restore the session: ${messageOf(error)}`, {
      fix: "start the run without --resume",
      cause: error,
    });
  }
}
