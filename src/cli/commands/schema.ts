import { contracts, jsonSchemaOf, type Contract } from "../../protocol/schemas.ts";
import { defineCommand } from "../command.ts";
import { humanTable } from "../human.ts";
import { UsageError } from "../output.ts";
import { nearest } from "../suggest.ts";

/** `agentkube schema`: the JSON Schema of a contract, or the list of them. */
export const command = defineCommand({
  name: "schema",
  summary: "print the JSON Schemas of every contract",
  usage: ["schema [NAME] [--json]"],
  description:
    "Without a name: the list of contracts; with --json all of them in one document. With a name: that schema (draft 2020-12).",
  examples: [
    { command: "agentkube schema", does: "lists the contracts" },
    { command: "agentkube schema Tool > tool.schema.json", does: "for an editor that checks YAML" },
    {
      command: "agentkube schema --json",
      does: "all schemas as one document: {schemas: {NAME: …}}",
    },
  ],
  options: {},
  positionals: { min: 0, max: 1 },
  run: async ({ positionals: [name], output }) => {
    if (name !== undefined) {
      const schema = jsonSchemaOf(contractNamed(name));
      if (output.json) output.document(schema);
      else output.line(JSON.stringify(schema, undefined, 2));
      return 0;
    }
    if (output.json) {
      output.document({
        schemas: Object.fromEntries(
          contracts.map((contract) => [contract.name, jsonSchemaOf(contract)]),
        ),
      });
      return 0;
    }
    const rows = contracts.map(({ name, room, about }) => [name, room, about]);
    for (const line of humanTable(["NAME", "ROOM", "WHAT IT IS"], rows)) output.line(line);
    return 0;
  },
});

function contractNamed(name: string): Contract {
  const found = contracts.find((contract) => contract.name.toLowerCase() === name.toLowerCase());
  if (found !== undefined) return found;
  const near = nearest(
    name,
    contracts.map((contract) => contract.name),
  );
  throw new UsageError(
    `Unknown contract "${name}"`,
    `${near === undefined ? "" : `did you mean ${near}? `}agentkube schema lists the names`,
  );
}
