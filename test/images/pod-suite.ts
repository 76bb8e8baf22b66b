import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { PlayedPod, type Range } from "./played-pod.ts";

/** Ends of runs as pods, played by podman. `of`: what `before` has opened by the time a test runs. */
export function podSuite(of: () => Range): void {
  suite("ends of pods", () => {
    test("a pod that is told to end stops its agent in time, and its recording is sealed and verified", async () => {
      const script = "trap '' INT TERM; echo working; sleep 1000; sleep 1000";
      await using pod = await PlayedPod.play(of(), { name: "stopped", script });
      await pod.started("working");
      const started = performance.now();

      // As kubelet does: the containers first, the sidecars after them.
      pod.stop("agent", 20);
      assert(performance.now() - started < 20_000, "the agent's container ended by itself");
      pod.stop("session-recorder", 25);

      const { info } = await pod.ended();
      assert.deepEqual([info.end?.outcome, info.end?.reason], ["cancelled", "cancelled"]);
      assert.equal(info.recording?.verified, true);
      assert.match(pod.terminationMessage("agent"), /^cancelled: cancelled/);
    });

    test("an agent's container that is killed leaves a recording that says so, whole at the manager", async () => {
      const script = "echo before; sleep 1000";
      await using pod = await PlayedPod.play(of(), { name: "killed", script });
      await pod.started("before");

      pod.kill("agent");
      pod.stop("session-recorder", 25);

      const { info, cast } = await pod.ended();
      assert.deepEqual([info.end?.outcome, info.end?.reason], ["failed", "agentlet_fault"]);
      assert.equal(info.recording?.verified, true);
      assert.match(cast, /before/);
      assert.doesNotMatch(cast, /"x"/, "no exit is on record, for nobody saw one");
    });

    for (const container of ["session-recorder", "tool-runner", "manager"])
      test(`a ${container} that is killed and started again takes the run up where it was`, async () => {
        const name = `again-${container}`;
        const script = "for i in $(seq 60); do echo line $i; sleep 0.2; done";
        await using pod = await PlayedPod.play(of(), { name, script });
        await pod.started("line 5");

        pod.kill(container);
        pod.startAgain(container);

        const { info, cast } = await pod.ended();
        assert.deepEqual([info.end?.outcome, info.end?.reason], ["succeeded", "exited"]);
        assert.equal(info.recording?.verified, true);
        for (let line = 1; line <= 60; line += 1) assert.match(cast, new RegExp(`line ${line}\\b`));
      });
  });
}
