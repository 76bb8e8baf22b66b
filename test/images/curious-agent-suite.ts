import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { PlayedPod, type Range } from "./played-pod.ts";

/** What an agent tries in its container. Each line of the output begins with what was tried. Brackets keep a search from finding itself. */
const CURIOUS = `
t=/var/run/agentkube/token/token
echo "token: $(cat $t 2>&1; cat /proc/self/root$t 2>&1; cat /run/agentkube/token/token 2>&1)"
echo "secrets: $(ls /var/run/agentkube/secrets 2>&1)"
echo "serviceaccount: $(ls /var/run/secrets 2>&1)"
echo "caps: $(grep CapEff /proc/self/status; grep CapBnd /proc/self/status)"
echo "privs: $(grep NoNewPrivs /proc/self/status)"
echo "filter: $(grep Seccomp: /proc/self/status)"
echo "uid: $(id -u)"
echo "env: $(cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c TOKEN_FILE)"
echo "others: $(cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -cE 'tool-runne[r]|session-recorde[r]|manage[r]')"
echo "unlink: $(rm -f /run/agentkube/frames/frames.sock 2>&1; rm -f /run/agentkube/runner/runner.sock 2>&1)"
echo "replace: $(touch /run/agentkube/frames/x 2>&1)"
echo "markers: $(ls /run/agentkube/markers 2>&1)"
echo "install: $(touch /opt/agentkube-bin/x 2>&1)"
echo "spec: $(touch /etc/agentkube/x 2>&1)"
echo "root: $(touch /x /usr/x /etc/x 2>&1 | wc -l)"
echo "writable: $(find / -xdev -type d -writable 2>/dev/null | grep -vE '^/(proc|dev)' | tr '\\n' ' ')"
echo "memory: $(for p in /proc/[0-9]*; do n=\${p#/proc/}; tr '\\0' ' ' < $p/cmdline | grep -q "agentle[t]" && head -c 1 $p/mem 2>&1; done)"
echo "kill: $(for p in /proc/[0-9]*; do n=\${p#/proc/}; tr '\\0' ' ' < $p/cmdline | grep -q "agentle[t]" && kill -9 $n 2>&1; done)"
echo "namespace: $(unshare -Ur true 2>&1)"
echo mine > /workspace/file && echo "workspace: $(cat /workspace/file)"
echo mine > $HOME/file && echo "home: $(cat $HOME/file)"
echo "goal: $AGENTKUBE_GOAL"
exit 3
`;

const EXPECTED: Record<string, RegExp> = {
  token: /(?:Permission denied[^]*){2}/,
  secrets: /No such file|Permission denied/,
  serviceaccount: /No such file/,
  caps: /CapEff:\s0000000000000000[^]*CapBnd:\s0000000000000000/,
  privs: /NoNewPrivs:\s1/,
  filter: /Seccomp:\s2/,
  uid: /^1000$/,
  env: /^0$/,
  others: /^0$/,
  unlink: /(?:Read-only file system[^]*){2}/,
  replace: /Read-only/,
  markers: /No such file/,
  install: /Read-only/,
  spec: /Read-only/,
  root: /^3$/,
  writable: /^$/,
  memory: /Permission denied|not permitted/,
  kill: /not permitted/,
  namespace: /not permitted|not implemented/,
  workspace: /^mine$/,
  home: /^mine$/,
  goal: /^A goal$/,
};

/** While the recorder is away: takes its socket's place, or its seat, if it can. Ends with the recorder's return. */
const RACER = `
const { createServer, connect } = require("node:net");
const { unlinkSync } = require("node:fs");
const path = "/run/agentkube/frames/frames.sock";
const seen = { bound: 0, removed: 0, welcomed: 0, refused: 0, errors: new Set() };
const deadline = Date.now() + 12000;
function round() {
  try { unlinkSync(path); seen.removed += 1; } catch (error) { seen.errors.add(error.code); }
  const server = createServer().on("error", (error) => seen.errors.add(error.code));
  server.listen(path, () => { seen.bound += 1; });
  const socket = connect(path);
  const hello = Buffer.from(JSON.stringify({ protocol: 1, token: "x".repeat(43), session: process.env.AGENTKUBE_RUN }));
  const head = Buffer.alloc(4);
  head.writeUInt32BE(hello.length);
  socket.on("connect", () => socket.write(Buffer.concat([head, hello])));
  socket.on("data", (bytes) => { if (String(bytes).includes("welcome")) seen.welcomed += 1; });
  socket.on("error", () => undefined).on("close", () => { seen.refused += 1; });
  setTimeout(() => { server.close(); socket.destroy(); Date.now() < deadline ? round() : done(); }, 20);
}
function done() {
  console.log("race: " + JSON.stringify({ ...seen, errors: [...seen.errors].sort() }) + " over");
  process.exit(seen.bound + seen.removed + seen.welcomed === 0 ? 0 : 9);
}
console.log("racing");
round();
`;

/** An agent that looks for a way out of its container. */
export function curiousAgentSuite(of: () => Range): void {
  suite("a curious agent in a pod", () => {
    test("finds no token, no way out of its container, and nobody to harm; its run is recorded and verified", async () => {
      await using pod = await PlayedPod.play(of(), { name: "curious", script: CURIOUS });

      const { info, said } = await pod.ended();

      assert.deepEqual(
        [info.end?.outcome, info.end?.reason, info.end?.exitCode],
        ["failed", "exited", 3],
      );
      assert.equal(info.recording?.verified, true);
      assert.equal(pod.exitCode("agent"), 3);
      assert.match(pod.terminationMessage("agent"), /^failed: exited \(code 3\)/);
      // A line of what was tried may itself begin with a word and a colon.
      const next = `(?=(?:${Object.keys(EXPECTED).join("|")}): |$(?![^]))`;
      for (const [tried, result] of Object.entries(EXPECTED)) {
        const found = new RegExp(`^${tried}: ([^]*?)\\r?\\n${next}`, "m").exec(said);
        assert.match(found?.[1]?.trim() ?? "(nothing)", result, tried);
      }
    });

    test("loses the race for the recorder's socket while the recorder starts again", async () => {
      const command = ["/opt/agentkube/node", "-e", RACER];
      await using pod = await PlayedPod.play(of(), { name: "racing", spec: { command } });
      await pod.started("racing");

      pod.kill("session-recorder");
      pod.startAgain("session-recorder");

      const { info, said } = await pod.ended();
      assert.deepEqual([info.end?.outcome, info.end?.reason], ["succeeded", "exited"], said);
      assert.match(said, /race: \{"bound":0,"removed":0,"welcomed":0,"refused":[1-9]/);
      assert.match(said, /"errors":\[.*"EROFS"/);
      assert.equal(info.recording?.verified, true);
    });
  });
}
