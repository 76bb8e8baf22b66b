import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { openLab, resultOf } from "../helpers/lab.ts";
import type { Lab } from "../helpers/lab.ts";
import { anAgent } from "../helpers/manifests.ts";
import { findSecret } from "../helpers/secret-forms.ts";

const KEY = "kQ3-vN8_wXz5Lr2TbY7mHc4Jd9";
const TOKEN = { secretRef: { name: "agent-token", key: "token" }, delivery: "env" };

function agentFile(lab: Lab, command: string, rest: object = {}): string[] {
  const secret = lab.write("key", KEY, 0o600);
  const file = lab.write("agent.yaml", anAgent(command, { agentToken: TOKEN, ...rest }));
  return [file, `--secret=agent-token/token=@${secret}`];
}

suite("a model key delivered by env", () => {
  test("reaches the program, and nothing that is written down shows it in any form", async () => {
    await using lab = openLab();
    const words = agentFile(
      lab,
      [
        'echo "length ${#ANTHROPIC_API_KEY} ${#AGENTKUBE_MODEL_KEY}"',
        "env | grep -i key",
        'printf %s "$ANTHROPIC_API_KEY" | base64',
        "printf %s \"$ANTHROPIC_API_KEY\" | od -An -tx1 | tr -d ' \\n'; echo",
        'printf "%s" "$ANTHROPIC_API_KEY" | fold -w 7',
        "echo; printf '\\033]0;%s\\007' \"$ANTHROPIC_API_KEY\"",
        'printf "%s" "$ANTHROPIC_API_KEY" | sed "s/./&\\x1b[1m/g"; echo',
        "echo ghp_k3Yq9ZtR7wLm2XsBk3Yq9ZtR7wLm2XsBk3Yq",
        "echo done",
      ].join("\n"),
      { model: { provider: "anthropic" } },
    );

    const end = await lab.run(words).ended;
    const result = resultOf(end);
    const cat = ["recording", "cat", result.run, "--raw", "--data", lab.data];
    const raw = (await lab.agentkube(cat).ended).stdout.toString();

    assert.equal(result.outcome, "succeeded", end.text);
    assert.match(raw, new RegExp(`length ${KEY.length} ${KEY.length}\r\n`));
    assert.match(raw, new RegExp(`ANTHROPIC_API_KEY=\\*{${KEY.length}}\r\n`));
    assert.match(raw, /\r\nghp_\*{36}\r\ndone\r\n$/);
    const files = readdirSync(lab.data, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(entry.parentPath, entry.name));
    for (const file of files) assert.deepEqual(findSecret(readFileSync(file), KEY), [], file);
    assert.ok(result.recording?.verified);
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("is refused where it could not be masked", async () => {
    await using lab = openLab();
    const short = lab.write("short", "abc", 0o600);
    const [agent = ""] = agentFile(lab, "true");

    const end = await lab.run([agent, `--secret=agent-token/token=@${short}`]).ended;

    assert.equal(end.code, 2, end.text);
    assert.match(end.text, /expects a key of 8 to 4096 bytes/);
  });
});
