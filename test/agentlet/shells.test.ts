import assert from "node:assert/strict";
import { join } from "node:path";
import { afterEach, beforeEach, suite, test } from "node:test";
import { Shells } from "../../src/agentlet/shells.ts";
import { silentLog } from "../../src/kit/log.ts";
import { compileRedactionSet } from "../../src/kit/redaction-set.ts";
import type { AgentletEvent } from "../../src/protocol/agentlet-link.ts";
import { GrantId } from "../../src/protocol/ids.ts";
import { until } from "../helpers/until.ts";
import { openTestZone } from "./open-zone.ts";
import type { TestZone } from "./open-zone.ts";
import { SmallRecorder } from "./small-recorder.ts";
import { BOOT } from "./small-run.ts";

const grant = GrantId.parse("0123456789abcdef");

suite("a shell that is asked for before the agent's program has started", () => {
  let zone: TestZone;
  let recorder: SmallRecorder;
  let shells: Shells;
  let events: Extract<AgentletEvent, { type: "shell" }>[];
  beforeEach(async () => {
    zone = await openTestZone();
    const recorderSocket = join(zone.workspace, "rec.sock");
    recorder = new SmallRecorder(recorderSocket, BOOT.agentletToken);
    await recorder.start();
    events = [];
    shells = new Shells({
      recorderSocket,
      agentletToken: BOOT.agentletToken,
      recordInput: false,
      redaction: () => compileRedactionSet([]),
      log: silentLog,
      emit: (event) => {
        if (event.type === "shell") events.push(event);
      },
    });
    shells.handle({
      kind: "shell_open",
      grant_id: grant,
      cols: 80,
      rows: 24,
      argv: ["sh", "-c", 'read line; echo "here $line"; exit 3'],
      fromOffset: null,
    });
  });
  afterEach(async () => {
    await shells.close("the test is over");
    await recorder[Symbol.asyncDispose]();
    await zone[Symbol.asyncDispose]();
  });

  test("waits for it, and gets what was typed meanwhile", async () => {
    const cwd = zone.workspace;
    const data = Buffer.from("early\r").toString("base64");
    shells.handle({ kind: "shell_input", grant_id: grant, data });
    const before = [...events];
    shells.useZone({
      start: async (request) => await zone.sandbox.start({ ...request, cwd, env: {} }),
    });
    await until("the shell has ended", () => events.length >= 2);

    assert.deepEqual(before, []);
    assert.deepEqual(
      events.map(({ change, detail }) => [change, detail]),
      [
        ["opened", 'sh -c read line; echo "here $line"; exit 3'],
        ["closed", "exited with code 3"],
      ],
    );
    await until("it is on record", () => recorder.output().includes("here early"));
  });

  test("is refused when the program never starts", async () => {
    await shells.close("the run is over");

    assert.deepEqual(
      events.map(({ change }) => change),
      ["refused"],
    );
  });
});
