import assert from "node:assert/strict";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { openFakeModel } from "../helpers/fake-model.ts";
import { openLab, resultOf } from "../helpers/lab.ts";
import { anAgent } from "../helpers/manifests.ts";
import { findSecret } from "../helpers/secret-forms.ts";

const KEY = "sk-ant-api03-0123456789abcdefghijklmnopqrstuvwxyz";

// What a CLI with a custom endpoint does: the run's token as its key, a stream of events as the answer.
const CLIENT = `
const { AGENTKUBE_GATEWAY: gateway, AGENTKUBE_AGENT_TOKEN: token } = process.env;
const ask = (route, key, text) => fetch(gateway + "/model/anthropic" + route, {
  method: "POST",
  headers: { "x-api-key": key, "content-type": "application/json", "anthropic-version": "2023-06-01" },
  body: JSON.stringify({ model: "fake-model", max_tokens: 100, stream: true, messages: [{ role: "user", content: text }] }),
});
const good = await ask("/v1/messages?beta=true", token, "[[say It works]]");
const text = [...(await good.text()).matchAll(/"text_delta","text":"([^"]*)"/g)].map((match) => match[1]).join("");
console.log("good " + good.status + " " + text);
console.log("stranger " + (await ask("/v1/messages", "sk-ant-wrong", "[[say no]]")).status);
console.log("elsewhere " + (await ask("/v1/organizations", token, "[[say no]]")).status);
`;

suite("the model gateway", () => {
  test("adds the key to declared paths of a live run, and the key is nowhere else", async () => {
    await using lab = openLab();
    await using model = await openFakeModel(KEY);
    writeFileSync(path.join(lab.workspace, "client.mjs"), CLIENT);
    const secret = lab.write("key", KEY, 0o600);
    const agent = lab.write(
      "agent.yaml",
      anAgent("env; cat /proc/self/environ; /opt/agentkube/node ./client.mjs", {
        model: { provider: "anthropic", endpoint: { url: model.url, private: true } },
        agentToken: { secretRef: { name: "agent-token", key: "token" } },
      }),
    );

    const end = await lab.run([agent, `--secret=agent-token/token=@${secret}`]).ended;
    const result = resultOf(end);
    const raw = (
      await lab.agentkube(["recording", "cat", result.run, "--raw", "--data", lab.data]).ended
    ).stdout.toString();

    assert.equal(result.outcome, "succeeded", `${end.text}\n${raw}`);
    assert.match(raw, /good 200 It works/);
    assert.match(raw, /stranger 40[13]/);
    assert.match(raw, /elsewhere 40[34]/);
    assert.deepEqual(
      model.requests.map(({ path: route, key, status }) => ({ route, key, status })),
      [{ route: "/v1/messages", key: KEY, status: 200 }],
    );
    assert.doesNotMatch(JSON.stringify(model.requests[0]?.headers), /AGENTKUBE/i);
    const files = readdirSync(lab.data, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(entry.parentPath, entry.name));
    for (const file of files) assert.deepEqual(findSecret(readFileSync(file), KEY), [], file);
    const audit = readFileSync(path.join(lab.data, "runs", result.run, "audit.jsonl"), "utf8");
    assert.match(audit, /"source":"model"/);
    assert.deepEqual(await lab.leftovers(), []);
  });
});
