import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, suite, test } from "node:test";
import { nativeProgram } from "../../src/kit/native.ts";
import { Tool } from "../../src/protocol/tool-manifest.ts";
import type { ContainerLab } from "./container-lab.ts";
import type { PlayablePod } from "./play-pod.ts";
import { PlayedPod, PlayError, type PodOptions, type Range } from "./played-pod.ts";

/** Debian's name of this machine is the only part that differs. */
const [CLOCK = ""] = globSync("/usr/lib/*-linux-gnu/faketime/libfaketime.so.1");
const SCRIPT = "echo started";

const tool = Tool.parse({
  apiVersion: "agentkube.io/v1alpha1",
  kind: "Tool",
  metadata: { name: "locked" },
  spec: {
    image: "docker.io/library/debian:bookworm-slim",
    operations: [{ name: "run", description: "Run it.", command: ["/bin/true"] }],
    sandbox: { network: [{ host: "api.example.com" }] },
    credentials: [
      {
        name: "key",
        secretRef: { name: "locked-token", key: "token" },
        http: {
          hosts: ["api.example.com"],
          methods: ["GET"],
          paths: ["/"],
          header: "Authorization",
        },
      },
    ],
  },
});

interface Case {
  title: string;
  options: Omit<PodOptions, "name">;
  end: [outcome: string, reason: string];
  says: RegExp;
}

const CASES: Case[] = [
  {
    title: "an image without the command",
    options: { spec: { command: ["/usr/bin/nowhere"] } },
    end: ["failed", "spawn_failed"],
    says: /Cannot start "\/usr\/bin\/nowhere".*not in the image[^]*fix: use an image/,
  },
  {
    title: "an image of another architecture",
    options: { spec: { command: ["agent"], image: "localhost/other-machine:1" } },
    end: ["refused", "not_started"],
    says: /"\/usr\/local\/bin\/agent" is built for arm64, and this node is x86-64/,
  },
  {
    title: "an image without CA certificates",
    options: {
      script: "exit 1",
      spec: { image: "localhost/no-certificates:1", network: "public" },
    },
    end: ["failed", "exited"],
    says: /no CA certificates/,
  },
  {
    title: "an image whose entry point exits, which is not used, with a command that exits",
    options: { script: "exit 7", spec: { image: "localhost/exits:1" } },
    end: ["failed", "exited"],
    says: /^failed: exited \(code 7\)/,
  },
  {
    title: "a home that is full",
    options: { script: SCRIPT, prepare: (made) => fill(made.hostDir("home")) },
    end: ["refused", "not_started"],
    says: /"\/home\/agent".*its volume is full \(ENOSPC\)[^]*sizeLimit/,
  },
  {
    title: "a missing Secret",
    options: { script: SCRIPT, tools: [tool] },
    end: ["refused", "not_started"],
    says: /Cannot read Secret "locked-token\/token": ENOENT[^]*create the Secret/,
  },
  {
    title: "a read-only workspace",
    options: {
      script: SCRIPT,
      alter: (container) => ({
        ...container,
        volumeMounts: (container.volumeMounts ?? []).map((mount) =>
          container.name === "agent" && mount.name === "workspace"
            ? { ...mount, readOnly: true }
            : mount,
        ),
      }),
    },
    end: ["refused", "not_started"],
    says: /Cannot write to "\/workspace".*EROFS[^]*mount a volume there/,
  },
  {
    title: "a clock that is wrong",
    options: {
      script: SCRIPT,
      prepare: (made) => copyFileSync(CLOCK, join(made.hostDir("workspace"), "clock.so")),
      alter: (container) =>
        container.name === "agent"
          ? {
              ...container,
              // Without set-aside, which would keep this from our programs.
              command: (container.command ?? []).slice(
                (container.command ?? []).findIndex((word) => word.endsWith("/tini")),
              ),
              env: [
                ...(container.env ?? []),
                { name: "LD_PRELOAD", value: "/workspace/clock.so" },
                { name: "FAKETIME", value: "+3h" },
                { name: "FAKETIME_DONT_FAKE_MONOTONIC", value: "1" },
              ],
            }
          : container,
    },
    end: ["refused", "not_started"],
    says: /clock is 180 min ahead of the manager's[^]*NTP/,
  },
];

/** What is wrong with a pod is named in the end of its run, and where `kubectl describe pod` shows it. */
export function badInputSuite(of: () => Range): void {
  suite("what is wrong with a pod", () => {
    before(() => buildBadImages(of().lab));

    for (const [index, { title, options, end, says }] of CASES.entries())
      test(`${title} is named in the run's detail and in the termination message`, async () => {
        await using pod = await PlayedPod.play(of(), { name: `bad-${index}`, ...options });

        const { info } = await pod.ended();

        assert.deepEqual([info.end?.outcome, info.end?.reason], end, pod.lastWords());
        const message = pod.terminationMessage("agent");
        assert.match(message, says);
        const { cause, path, fix } = info.end?.detail ?? { cause: "" };
        for (const text of [cause, path ?? "", fix ?? ""]) assert(message.includes(text), message);
        assert.equal(info.recording?.verified, true, "refusals are on record too");
      });

    test("a spool that is full is named by the recorder, and the run does not start", async () => {
      const prepare = (made: PlayablePod): void => fill(made.hostDir("spool"));
      await using pod = await PlayedPod.play(of(), { name: "bad-spool", script: SCRIPT, prepare });

      // The agentlet reads the recorder's last words, and the manager waits for no recorder that never came.
      const { info } = await pod.ended(45_000);

      assert.equal(info.end?.outcome, "refused", pod.lastWords());
      assert.match(pod.terminationMessage("agent"), /ENOSPC/);
      assert.match(pod.terminationMessage("session-recorder"), /ENOSPC/);
    });

    test("a missing Secret whose value the agent is to have is named by the recorder, and the run does not start", async () => {
      const agentToken = { secretRef: { name: "model", key: "token" }, delivery: "env" };
      const options = { name: "bad-key", script: SCRIPT, spec: { agentToken } };
      await using pod = await PlayedPod.play(of(), options);

      const { info } = await pod.ended(45_000);

      assert.equal(info.end?.outcome, "refused", pod.lastWords());
      assert.match(info.end?.detail?.cause ?? "", /Secret/);
      assert.match(pod.terminationMessage("agent"), /Secret[^]*create the Secret/);
      assert.match(pod.terminationMessage("session-recorder"), /Secret "model\/token"/);
    });

    test("a volume without room for our folder is named by the init container, and no agent starts", async () => {
      const prepare = (made: PlayablePod): void => fill(made.hostDir("agentkube"));
      let last = "";
      const options = { name: "bad-install", script: SCRIPT, prepare };
      await assert.rejects(async () => {
        await using _pod = await PlayedPod.play(of(), {
          ...options,
          prepare: (made) => {
            prepare(made);
            last = made.terminationLog("agentlet-install");
          },
        });
      }, PlayError);
      of().lab.podman(["pod", "rm", "--force", "--time", "0", options.name]);
      assert.match(readFileSync(last, "utf8"), /Cannot copy agentkube.*ENOSPC[^]*room for 150 MB/);
    });

    test("an image without any C library, shell or certificate runs its program all the same", async () => {
      const spec = { command: ["/agent"], image: "localhost/bare:1" };
      await using pod = await PlayedPod.play(of(), { name: "bare", spec });

      const { info } = await pod.ended();

      assert.deepEqual(
        [info.end?.outcome, info.end?.exitCode, info.recording?.verified],
        ["succeeded", 0, true],
        pod.lastWords(),
      );
    });
  });
}

/** A volume with no byte to spare. The lab takes it down. */
function fill(dir: string): void {
  spawnSync("mount", ["-t", "tmpfs", "-o", "size=4k,mode=1777", "tmpfs", dir]);
  writeFileSync(join(dir, "ballast"), Buffer.alloc(4096));
}

function buildBadImages(lab: ContainerLab): void {
  const build = (
    name: string,
    lines: readonly string[],
    files: Record<string, Buffer> = {},
    words: readonly string[] = [],
  ): void => {
    const dir = join(lab.dir, `bad-${name}`);
    mkdirSync(dir, { recursive: true });
    for (const [file, data] of Object.entries(files))
      writeFileSync(join(dir, file), data, { mode: 0o755 });
    writeFileSync(join(dir, "Containerfile"), `${lines.join("\n")}\n`);
    const common = ["build", "--isolation", "chroot", "--pull=never", "-t", `localhost/${name}:1`];
    lab.must("buildah", [...common, ...words, dir]);
  };
  const base = "FROM docker.io/library/debian:bookworm-slim";
  const program = readFileSync(nativeProgram("report"));
  const foreign = Buffer.from(program);
  // `e_machine`: AArch64.
  foreign.writeUInt16LE(183, 18);
  build("other-machine", [base, "COPY agent /usr/local/bin/agent"], { agent: foreign });
  build("no-certificates", [base, "RUN rm -rf /etc/ssl/certs /etc/ssl/cert.pem"]);
  build("exits", [base, 'ENTRYPOINT ["/bin/false"]']);
  build("bare", ["FROM scratch", "COPY agent /agent"], { agent: program });
}
