/** A file of a new tool's directory. */
export interface ScaffoldFile {
  readonly path: string;
  readonly text: string;
  readonly executable?: true;
}

export const LANGUAGES = ["sh", "node", "python", "mcp"] as const;
export type Language = (typeof LANGUAGES)[number];

/** The files of a new tool that works as it is: one operation `greet`, a test, a page for its readers. */
export function scaffold(name: string, language: Language): ScaffoldFile[] {
  const { program, text } = programs[language];
  return [
    { path: "tool.yaml", text: manifest(name, language, program) },
    { path: `package/${program}`, text, executable: true },
    { path: "test.sh", text: TEST, executable: true },
    { path: "README.md", text: readme(name, language, program) },
  ];
}

const SH = `#!/bin/sh
# The arguments come as words, as "command" in tool.yaml says. Nothing of the host is here but /usr.
set -eu
if [ -z "\${1:-}" ]; then
  echo "whom shall I greet?" >&2
  exit 1
fi
printf 'Hello, %s!\\n' "$1"
`;

const NODE = `#!/usr/bin/env node
// The arguments come as one JSON document on standard input ("stdin: json" in tool.yaml).
let text = "";
for await (const chunk of process.stdin) text += chunk;
const { name } = JSON.parse(text);
console.log(\`Hello, \${name}!\`);
`;

const PYTHON = `#!/usr/bin/env python3
"""The arguments come as one JSON document on standard input ("stdin: json" in tool.yaml)."""

import json
import sys

arguments = json.load(sys.stdin)
print(f"Hello, {arguments['name']}!")
`;

const MCP = `#!/usr/bin/env node
// A server of the Model Context Protocol on standard input and output, one JSON document a line, without any library.
// Any other server does as well: put it with its node_modules into package/ and name it in "mcp.command" of tool.yaml.
import { createInterface } from "node:readline";

const greet = {
  name: "greet",
  description: "Greet somebody by name.",
  inputSchema: {
    type: "object",
    properties: { name: { type: "string", minLength: 1, maxLength: 100 } },
    required: ["name"],
    additionalProperties: false,
  },
};

const methods = {
  initialize: ({ protocolVersion }) => ({
    protocolVersion,
    capabilities: { tools: {} },
    serverInfo: { name: "greeter", version: "1.0.0" },
  }),
  ping: () => ({}),
  "tools/list": () => ({ tools: [greet] }),
  "tools/call": ({ arguments: { name } }) => ({ content: [{ type: "text", text: \`Hello, \${name}!\` }] }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) continue; // a notification wants no answer
  const known = Object.hasOwn(methods, method);
  const answer = known
    ? { result: methods[method](params ?? {}) }
    : { error: { code: -32601, message: \`no method \${method}\` } };
  console.log(JSON.stringify({ jsonrpc: "2.0", id, ...answer }));
}
`;

const programs: Readonly<Record<Language, { program: string; text: string }>> = {
  sh: { program: "greet", text: SH },
  node: { program: "greet.mjs", text: NODE },
  python: { program: "greet.py", text: PYTHON },
  mcp: { program: "server.mjs", text: MCP },
};

const TEST = `#!/bin/sh
# Calls the tool as an agent would, in its sandbox. AGENTKUBE names another agentkube than the one on PATH.
set -eu
cd "$(dirname "$0")"
expected='Hello, Ada!'
got=$(\${AGENTKUBE:-agentkube} tool call . greet --args '{"name":"Ada"}')
if [ "$got" != "$expected" ]; then
  echo "expected: $expected" >&2
  echo "got:      $got" >&2
  exit 1
fi
echo "ok"
`;

function manifest(name: string, language: Language, program: string): string {
  const head = `apiVersion: agentkube.io/v1alpha1
kind: Tool
metadata: { name: ${name} }
spec:
  description: Greets people. # what the agent reads, before the description of each operation
  package: ./package # the sandbox sees it read-only at /opt/tool
`;
  const limits = `  sandbox:
    timeout: 10s
    # workspace: ro            # none (default), ro or rw: the agent's files, at /workspace
    # network: [{ host: api.example.com }]
`;
  if (language === "mcp")
    return `${head}  mcp:
    command: [./${program}]
    tools: [greet] # which of the server's tools an agent sees
${limits}`;
  const input =
    language === "sh"
      ? `      command: [./${program}, "{{name}}"] # an argument stays inside its word; there is no shell between
`
      : `      command: [./${program}]
      stdin: json
`;
  return `${head}  operations:
    - name: greet
      description: Greet somebody by name.
      inputSchema:
        type: object
        properties: { name: { type: string, minLength: 1, maxLength: 100, description: whom to greet } }
        required: [name]
        additionalProperties: false
${input}${limits}`;
}

function readme(name: string, language: Language, program: string): string {
  const face = `\`${name}_greet\``;
  return `# ${name}

A tool for agents: ${face} over MCP, \`${name} greet --name Ada\` as a command.

| file | what it is |
| --- | --- |
| \`tool.yaml\` | what may be called, and what it may use |
| \`package/${program}\` | ${language === "mcp" ? "the MCP server" : "the program"} |
| \`test.sh\` | calls it once, in its sandbox |

\`\`\`sh
agentkube tool check .                                   # says everything that keeps it from running
agentkube tool call . greet --args '{"name":"Ada"}'
agentkube tool call . greet --explain                    # what the call would see and may use
./test.sh
agentkube tool pack . -o ${name}.tar                     # one file, for skopeo and podman too
\`\`\`
`;
}
