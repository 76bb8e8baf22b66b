import assert from "node:assert/strict";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { VerifyResult } from "../../src/protocol/results.ts";
import { openLab, resultOf } from "../helpers/lab.ts";
import { anAgent } from "../helpers/manifests.ts";

suite("the proofs beside a recording", () => {
  test("of a live run: what is there is right so far, with an exit code of its own", async () => {
    await using lab = openLab();
    const run = lab.run([lab.write("agent.yaml", anAgent("echo begun; sleep 100"))]);
    const info = await lab.waitForRun(({ committedBytes }) => committedBytes > 0);

    const words = ["recording", "verify", info.run, "--data", lab.data];
    const [text, json] = await Promise.all([
      lab.agentkube(words).ended,
      lab.agentkube([...words, "--json"]).ended,
    ]);

    assert.equal(text.code, 3, text.text);
    assert.match(text.text, /LIVE, right so far/);
    assert.doesNotMatch(text.text, /NOT OK|cut off/);
    assert.equal(json.code, 3);
    const { ok, live, problems } = VerifyResult.parse(JSON.parse(json.stdout.toString()));
    assert.deepEqual({ ok, live, problems }, { ok: false, live: true, problems: [] });
    run.child.kill("SIGINT");
    await run.ended;
  });

  test("cover it to its end, and say where what was changed or cut afterwards", async () => {
    await using lab = openLab();
    const file = lab.write("agent.yaml", anAgent("seq 1 400000"));
    const end = await lab.run([file]).ended;
    const result = resultOf(end);
    const cast = result.recording?.path ?? "";
    const proofs = cast.replace(".cast", ".proofs.jsonl");
    const copy = path.join(lab.workspace, "copy.cast");
    const copyProofs = path.join(lab.workspace, "copy.proofs.jsonl");
    const verify = async (what: string): Promise<VerifyResult> => {
      const { stdout } = await lab.agentkube([
        "recording",
        "verify",
        what,
        "--json",
        "--data",
        lab.data,
      ]).ended;
      return VerifyResult.parse(JSON.parse(stdout.toString().trim().split("\n").at(-1) ?? ""));
    };
    const problemsOf = async (
      change: (bytes: Buffer, lines: string[]) => Buffer,
    ): Promise<string> => {
      copyFileSync(proofs, copyProofs);
      const lines = readFileSync(proofs, "utf8").trim().split("\n");
      writeFileSync(copy, change(readFileSync(cast), lines));
      writeFileSync(copyProofs, `${lines.join("\n")}\n`);
      const { ok, problems } = await verify(copy);
      assert.equal(ok, problems.length === 0);
      return problems.map(({ line, problem }) => `${line}: ${problem}`).join("\n");
    };

    const whole = await verify(result.run);

    assert.deepEqual(whole.problems, []);
    assert.ok((whole.proof?.checkpoints ?? 0) >= 2, JSON.stringify(whole.proof));
    assert.deepEqual(whole.proof, {
      checkpoints: whole.proof?.checkpoints,
      signedBytes: whole.bytes,
      countersignedBytes: whole.bytes,
      ended: true,
    });
    assert.equal(await problemsOf((bytes) => bytes), "");
    const marker = Buffer.from("399990");
    assert.match(
      await problemsOf((bytes) => {
        bytes.write("399991", bytes.lastIndexOf(marker));
        return bytes;
      }),
      /^[1-9]\d+: Bytes changed: what checkpoint \d+ signed lies in lines \d+ to \d+$/,
    );
    assert.match(
      await problemsOf((bytes) => bytes.subarray(0, bytes.lastIndexOf(10, bytes.length - 2) + 1)),
      /Recording is cut: checkpoint \d+ signed \d+ bytes/,
    );
    assert.match(
      await problemsOf((bytes) => Buffer.concat([bytes, Buffer.from('[0.1, "o", "x"]\n')])),
      /after its signed end/,
    );
    assert.match(
      await problemsOf((bytes, lines) => {
        lines.splice(0, 1);
        return bytes;
      }),
      /expected checkpoint 0, got 1/,
    );
    assert.match(
      await problemsOf((bytes, lines) => {
        lines[0] = lines[0]?.replace(/"masked":0/, '"masked":1') ?? "";
        return bytes;
      }),
      /the recorder's signature is wrong/,
    );
    // Cut off with its last checkpoints: what is left is proved, and that it was cut off is said.
    const cut = await problemsOf((bytes, lines) => {
      lines.pop();
      const at = JSON.parse(lines.at(-1) ?? "") as { checkpoint: { bytes: number } };
      return bytes.subarray(0, at.checkpoint.bytes);
    });
    assert.equal(cut, "");
    assert.equal((await verify(copy)).proof?.ended, false);

    // Beside a run that was registered with keys: proofs that are gone, cut or another run's are not taken for none.
    const problemsOfRun = async (kept: string | null): Promise<string> => {
      if (kept === null) rmSync(proofs, { force: true });
      else writeFileSync(proofs, kept);
      const { ok, problems } = await verify(result.run);
      assert.equal(ok, problems.length === 0);
      return problems.map(({ problem }) => problem).join("\n");
    };
    const all = readFileSync(proofs, "utf8");
    const lines = all.trim().split("\n");
    const other = resultOf(await lab.run([lab.write("other.yaml", anAgent("echo other"))]).ended);
    const otherCast = other.recording?.path ?? "";
    const signed = readFileSync(otherCast.replace(".cast", ".proofs.jsonl"), "utf8").trim();
    const { countersignature } = JSON.parse(signed.split("\n").at(-1) ?? "") as {
      countersignature: unknown;
    };
    const mine = readFileSync(cast);
    assert.equal(await problemsOfRun(all), "");
    assert.match(await problemsOfRun(null), /proofs beside the recording are missing/);
    assert.match(
      await problemsOfRun(`${lines.slice(0, -1).join("\n")}\n`),
      /proofs beside the recording lack its end/,
    );
    writeFileSync(cast, readFileSync(otherCast));
    assert.match(
      await problemsOfRun(`${JSON.stringify({ closed: "forged", countersignature })}\n`),
      new RegExp(`the manager signed it for run "${other.run}", not for "${result.run}"`),
    );
    writeFileSync(cast, mine);
    assert.deepEqual(await lab.leftovers(), []);
  });
});
