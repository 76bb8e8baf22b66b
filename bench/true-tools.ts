/** What the two tools are called in MCP. */
export const TRUE_CALL = { plain: "plain_run", networked: "networked_run" } as const;

/** Two Tools that run /bin/true: one without a network, one with a host it may reach and so with a boundary of its own. */
export function trueTools(): object[] {
  const network = [{ host: "api.example.com" }];
  return [aTrueTool("plain", {}), aTrueTool("networked", { sandbox: { network } })];
}

function aTrueTool(name: string, spec: object): object {
  return {
    apiVersion: "agentkube.io/v1alpha1",
    kind: "Tool",
    metadata: { name },
    spec: {
      type: "custom",
      description: "Does nothing, successfully.",
      operations: [{ name: "run", description: "Runs it.", command: ["/bin/true"] }],
      ...spec,
    },
  };
}
