import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync } from "node:fs";
import { Writable } from "node:stream";
import { suite, test } from "node:test";
import { createOutput } from "../../src/cli/output.ts";
import { PlatformError } from "../../src/kit/platform-error.ts";
import { PreparedData } from "./prepared-data.ts";

const EVIL = "\u001B]0;pwn\u0007x\nagentkube: OK\r\u009B2J";

test("a failure that quotes an archive puts no control and no line of its own on the terminal", () => {
  let said = "";
  const stderr = new Writable({
    write(chunk: Buffer, _encoding, done) {
      said += chunk.toString();
      done();
    },
  });
  const output = createOutput({
    stdout: stderr,
    stderr,
    json: false,
    color: false,
    interactive: false,
  });

  output.fail(
    new PlatformError("image_invalid", `2 problems\n  os is ${EVIL}\n  b`, {
      path: `/a${EVIL}`,
      fix: EVIL,
    }),
  );

  assert.doesNotMatch(said, /[\u0000-\u0009\u000B-\u001F\u007F-\u009F]/);
  assert.deepEqual(
    said.split("\n").map((line) => line.slice(0, 9)),
    ["agentkube", "  os is \\", "  b", "  path: /", "  fix:  \\", ""],
  );
});

test("a line, a note and a document keep our colours, and nothing else in them acts", () => {
  let said = "";
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, done) {
      said += chunk.toString();
      done();
    },
  });
  const streams = { stdout, stderr: stdout, json: true, color: true, interactive: true };
  const output = createOutput(streams);
  const foreign = "a\u001B[2Jb\u001B[8mc\u009B6n\u202Ed\u0007";

  output.line(`${output.paint("red", "no")} ${foreign}`);
  output.note(foreign);
  output.document({ name: foreign });

  const [line = "", note, document = ""] = said.split("\n");
  const escaped = String.raw`a\x1b[2Jb\x1b[8mc\x9b6n\u202ed\x07`;
  assert.equal(line, `\u001B[31mno\u001B[39m ${escaped}`);
  assert.equal(note, escaped);
  assert.doesNotMatch(document, /[\u0000-\u001F\u007F-\u009F\u202E]/);
  assert.deepEqual(JSON.parse(document), { name: foreign });
});

suite("what a tool prints", () => {
  const tool = (data: PreparedData): string => {
    data.write(
      "tool/tool.yaml",
      `
apiVersion: agentkube.io/v1alpha1
kind: Tool
metadata: { name: box }
spec: { package: ./package, operations: [{ name: go, command: [./run] }] }
`,
    );
    chmodSync(
      data.write(
        "tool/package/run",
        "#!/bin/sh\nprintf '\\033]52;c;cHdu\\007one\\n\\ttwo\\n'; printf '\\033[2Jerr\\n' >&2\n",
      ),
      0o755,
    );
    return `${data.root}/tool`;
  };

  test("goes to a pipe byte by byte, and to a terminal without its controls", () => {
    using data = new PreparedData();
    const dir = tool(data);
    const words = [process.execPath, "src/cli/main.ts", "tool", "call", dir, "go"];
    const [program = "", ...args] = words;

    const piped = execFileSync(program, args, { stdio: ["ignore", "pipe", "ignore"] });
    const shown = execFileSync("script", ["-qec", words.join(" "), "/dev/null"], {
      stdio: ["ignore", "pipe", "inherit"],
    }).toString();

    assert.equal(piped.toString(), "\u001B]52;c;cHdu\u0007one\n\ttwo\n");
    assert.match(shown, /^\\x1b\]52;c;cHdu\\x07one\r\n\ttwo\r\n\\x1b\[2Jerr\r\n/);
  });
});
