import assert from "node:assert/strict";
import { suite, test } from "node:test";
import path from "node:path";
import { writeFileSync } from "node:fs";
import { openRange } from "../helpers/attack-range.ts";
import { formsOf } from "../helpers/secret-forms.ts";

const CANARY = 'c4nary+/=%"\\-0123456789-ÄÖ';

suite("the range for attacks", () => {
  test("runs a hostile program, masks what it prints, and finds what it must find", async () => {
    await using range = await openRange({
      secrets: { "token/value": CANARY },
      tools: {
        armed: {
          credentials: [{ name: "one", secretRef: { name: "token", key: "value" }, env: "TOKEN" }],
        },
      },
    });

    const attack = await range.attack(
      "armed",
      'printf %s "$TOKEN"; printf %s "$TOKEN" | base64 -w0; (setsid sleep 97531 &) ; exit 3',
    );

    assert.deepEqual([attack.outcome, attack.exitCode], ["completed", 3]);
    assert.equal(attack.record.exitCode, 3);
    assert.match(attack.stdout, /\*{12}/);
    await range.sweep();
    for (const { form, bytes } of formsOf(CANARY)) {
      const file = path.join(range.lab.workspace, "left-by-the-agent");
      writeFileSync(file, Buffer.concat([Buffer.from("x "), bytes]));
      await assert.rejects(range.sweep(), /canary 0/, form);
      writeFileSync(file, "");
    }
    await range.sweep();
  });
});
