import { PlatformError } from "../../kit/platform-error.ts";
import { type Agent } from "../../protocol/agent-manifest.ts";
import { Runtime } from "../../protocol/runtimes.ts";
import { API_VERSION } from "../../protocol/manifest.ts";
import { nearest } from "../suggest.ts";

/** Where the model key is looked for when the Agent names no secret. */
export const DEFAULT_MODEL_KEY = { name: "agent-token", key: "token" } as const;

/** The Agent of `--runtime R --goal T`. */
export function synthesise(
  runtime: string,
  tools: readonly string[],
  problems: string[],
): Agent | null {
  const known = Runtime.options.find((option) => option.toLowerCase() === runtime.toLowerCase());
  if (known === undefined) {
    const near = nearest(runtime, Runtime.options);
    problems.push(
      `--runtime: unknown runtime "${runtime}"; expected one of ${Runtime.options.join(", ")}${near === undefined ? "" : `; did you mean ${near}?`}`,
    );
    return null;
  }
  if (known === "Custom") {
    problems.push(
      "--runtime Custom needs the argv of its CLI; write an Agent manifest with spec.command, as examples/hello/agent.yaml does",
    );
    return null;
  }
  return {
    apiVersion: API_VERSION,
    kind: "Agent",
    metadata: { name: known.replaceAll(/(?<=[a-z])(?=[A-Z])/g, "-").toLowerCase() },
    spec: {
      runtime: known,
      agentToken: { secretRef: DEFAULT_MODEL_KEY },
      tools: [...tools],
    },
  };
}

/** The Agent with what the command line says of it: `--goal` and `--model-endpoint` win. Throws `usage`. */
export function withWords(
  agent: Agent,
  { goal, modelEndpoint }: { goal: string | null; modelEndpoint: string | null },
): Agent {
  const withGoal = goal === null ? agent.spec : { ...agent.spec, goal: { inline: goal } };
  if (modelEndpoint === null) return { ...agent, spec: withGoal };
  let url: URL;
  try {
    url = new URL(modelEndpoint);
  } catch {
    throw new PlatformError(
      "usage",
      `Option --model-endpoint expects a URL, got "${modelEndpoint}"`,
      {
        fix: "give something like https://gateway.example.com",
      },
    );
  }
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new PlatformError(
      "usage",
      `Option --model-endpoint expects http or https, got "${url.protocol}"`,
    );
  if (url.username !== "" || url.password !== "")
    throw new PlatformError("usage", "Option --model-endpoint holds a user or password", {
      fix: "give the key with --secret agent-token/token=@FILE",
    });
  // Whoever names an address on the command line means it, private or not.
  const endpoint = { url: modelEndpoint, private: true };
  return { ...agent, spec: { ...withGoal, model: { ...withGoal.model, endpoint } } };
}
