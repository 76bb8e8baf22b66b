import { mkdtemp, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { refuseProblems } from "../manifests/problems.ts";
import { errnoOf, PlatformError } from "../../kit/platform-error.ts";
import { ExitCode } from "../../protocol/outcome.ts";
import type { Tool } from "../../protocol/tool-manifest.ts";
import { checkTool } from "../../tool-runner/local-call.ts";
import { ociArchitecture } from "../../tool-runner/oci-layout.ts";
import { packImage } from "../../tool-runner/pack-image.ts";
import { removePackage } from "../../tool-runner/packages.ts";
import { ruleProblems } from "../credential-rules.ts";
import { humanBytes } from "../human.ts";
import { storeTool } from "../store-tools.ts";
import type { ToolAction, ToolContext } from "./action.ts";
import { chooseTool, readToolFiles } from "./tool-files.ts";

/** `agentkube tool pack`: a Tool as one file, an OCI image layout that any registry takes. */
export const pack: ToolAction = {
  words: { min: 1, max: 1, expected: "a directory or a manifest" },
  run: runPack,
};

async function runPack(context: ToolContext, [word = "."]: readonly string[]): Promise<number> {
  const { values, output, cwd } = context;
  const tool = chooseTool(await readToolFiles(word, cwd), word, values.tool);
  refuseProblems(ruleProblems(tool.value));
  const { name } = tool.value.metadata;
  const target = resolve(cwd, values.output ?? `${name}.tar`);
  const stop = new AbortController();
  const stopSignals = context.onSignal(() =>
    stop.abort(new PlatformError("cancelled", "Cancelled")),
  );
  // Beside the target, so that the archive appears there whole or not at all.
  const work = await makeWorkDir(target);
  try {
    const stored = await storeTool(tool, work, stop.signal);
    refuseProblems(
      checkTool(stored).map(({ path, problem }) => `Tool "${name}" ${path}: ${problem}`),
    );
    const written = join(work, basename(target));
    const digest = await packImage(
      {
        packageDir: stored.packageDir,
        tool: JSON.stringify(withoutPlaces(tool.value)),
        reference: `${name}:latest`,
        architecture: ociArchitecture(process.arch),
        target: written,
        workDir: work,
      },
      stop.signal,
    );
    const { size: bytes } = await stat(written);
    await rename(written, target);
    if (output.json) output.document({ tool: name, path: target, bytes, digest });
    else output.line(`Packed ${name}: ${target}, ${humanBytes(bytes)}, ${digest}`);
    return ExitCode.done;
  } finally {
    stopSignals();
    await removePackage(work);
    await rm(work, { recursive: true, force: true });
  }
}

async function makeWorkDir(target: string): Promise<string> {
  try {
    const isDirectory = (await stat(target).catch(() => null))?.isDirectory() === true;
    if (!isDirectory) return await mkdtemp(join(dirname(target), ".agentkube-pack-"));
  } catch (error) {
    throw new PlatformError("pack_failed", `Cannot write "${target}": ${errnoOf(error)}`, {
      path: target,
      fix: "name a file in a directory that exists and is yours with --output",
      cause: error,
    });
  }
  throw new PlatformError("pack_failed", `Cannot write "${target}": it is a directory`, {
    path: target,
    fix: "name a file with --output",
  });
}

/** The Tool as it is anywhere: the archive itself takes the place of package and image. */
function withoutPlaces({ apiVersion, kind, metadata, spec }: Tool): object {
  const { package: _package, image: _image, ...rest } = spec;
  return { apiVersion, kind, metadata, spec: rest };
}
