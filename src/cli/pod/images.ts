import { readFileSync } from "node:fs";
import * as z from "zod";
import { parseJson } from "../../kit/json-lines.ts";
import { PlatformError } from "../../kit/platform-error.ts";
import type { Tool } from "../../protocol/tool-manifest.ts";
import { knownRuntimes, type Runtime } from "../../protocol/runtimes.ts";
import { imagePrefix, imageReference } from "./image-reference.ts";

/** What `agentkube` itself brings to a pod or a cluster. */
export type Component = "manager" | "agentlet" | "session-recorder" | "tool-runner";

const DEFAULT_REGISTRY = "adaptivelive";

/** Name of the image and of the variable that overrides it: the matrix of the operator's documentation, and the tool-runner. */
const COMPONENTS: Record<Component, { image: string; variable: string }> = {
  manager: { image: "agentkube-manager", variable: "AGENTKUBE_IMAGE_MANAGER" },
  agentlet: { image: "agentkube-agentlet", variable: "AGENTKUBE_IMAGE_AGENTLET" },
  "session-recorder": {
    image: "agentkube-session-recorder",
    variable: "AGENTKUBE_IMAGE_SESSION_RECORDER",
  },
  "tool-runner": { image: "agentkube-tool-runner", variable: "AGENTKUBE_IMAGE_TOOL_RUNNER" },
};

/** `images/versions.json`: the one place where versions are pinned. */
const Versions = z.strictObject({
  agentkube: z.string(),
  runtimes: z.record(z.string(), z.string()),
});

type Env = Readonly<Record<string, string | undefined>>;

/** Which image each part of a run has: precedence, in this order, is the object's own, the image's variable, the registry's. */
export class ImageMatrix {
  readonly #env: Env;
  readonly #versions: z.infer<typeof Versions>;

  /** `env`: `AGENTKUBE_IMAGE_*` are taken verbatim; `AGENTKUBE_IMAGE_REGISTRY` stands in place of `adaptivelive`. Empty is unset. */
  constructor(env: Env) {
    this.#env = env;
    const file = new URL("../../../images/versions.json", import.meta.url);
    this.#versions = parseJson("the versions of images", Versions, readFileSync(file, "utf8"));
  }

  /** The reference of one of our own images. Throws `invalid_image` that names the variable. */
  component(name: Component): string {
    return this.#resolve(COMPONENTS[name], this.#versions.agentkube);
  }

  /** The reference of the Agent's runtime. Throws `invalid_manifest` for a Custom runtime without `spec.image`. */
  runtime(runtime: Runtime, own: string | undefined): string {
    if (own !== undefined && own !== "") return imageReference(own, "spec.image");
    if (runtime === "Custom")
      throw new PlatformError("invalid_manifest", "Runtime Custom has no image of its own", {
        path: "spec.image",
        fix: "set spec.image to an image that holds the CLI of spec.command",
      });
    const { image } = knownRuntimes[runtime];
    const variable = `AGENTKUBE_IMAGE_${image.toUpperCase()}`;
    return this.#resolve({ image, variable }, this.#versions.runtimes[image] ?? "");
  }

  /** That of a Tool, which has no other. Throws `invalid_manifest` without one. */
  tool({ metadata, spec }: Tool): string {
    if (spec.image !== undefined && spec.image !== "")
      return imageReference(spec.image, `spec.image of Tool "${metadata.name}"`);
    throw new PlatformError(
      "invalid_manifest",
      `Tool "${metadata.name}" has no image, and a pod cannot take a directory of this machine`,
      {
        path: "spec.image",
        fix: "make an image of it with agentkube tool pack, push it, and name it in spec.image",
      },
    );
  }

  #resolve({ image, variable }: { image: string; variable: string }, version: string): string {
    const override = this.#env[variable] ?? "";
    if (override !== "") return imageReference(override, variable);
    const registry = this.#env["AGENTKUBE_IMAGE_REGISTRY"] ?? "";
    const prefix =
      registry === "" ? DEFAULT_REGISTRY : imagePrefix(registry, "AGENTKUBE_IMAGE_REGISTRY");
    return `${prefix}/${image}:${version}`;
  }
}
