import assert from "node:assert/strict";
import { once } from "node:events";
import { findManager } from "../../src/cli/client.ts";
import type { ShellInfo } from "../../src/protocol/manager-api.ts";
import type { Lab } from "./lab.ts";
import { until } from "./until.ts";

/** As many as zone A takes. */
const AT_ONCE = 8;

/**
 * Lives through shells of a run, some at once; every tenth one's program ignores its hangup and is closed by its person. Gives what is
 * known of them once every recording is sealed and none of their programs is left.
 */
export async function liveThroughShells(
  lab: Lab,
  run: string,
  count: number,
): Promise<ShellInfo[]> {
  const client = (await findManager(lab.data)) ?? assert.fail("no manager");
  const live = async (at: number): Promise<void> => {
    const isDeaf = at % 10 === 0;
    const script = isDeaf ? "trap '' HUP TERM; echo deaf; sleep 987" : `echo shell ${at}; exit 3`;
    const argv = ["sh", "-c", script];
    const { grant_id } = await client.openShell(run, { cols: 80, rows: 24, argv });
    const person = client.attach(run, { write: true, from: null, shell: grant_id });
    person.on("message", (data: Buffer) => {
      if (data.includes("deaf")) void client.closeShell(run, grant_id);
    });
    await once(person, "close");
  };
  for (let at = 0; at < count; at += AT_ONCE)
    await Promise.all(
      Array.from({ length: Math.min(AT_ONCE, count - at) }, async (_, n) => await live(at + n)),
    );
  const left = () => lab.processes().filter(({ command }) => command.endsWith(" 987"));
  await until("no program of a shell is left", () => left().length === 0);
  return await until("every recording is sealed", async () => {
    const shells = await client.shells(run);
    return shells.every(({ recording }) => recording !== null) ? shells : undefined;
  });
}
