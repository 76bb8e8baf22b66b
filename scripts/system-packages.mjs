// Which package of which distribution brings what we need, and how it is installed.
import { accessSync, constants, readFileSync } from "node:fs";

/** What images are built and pods are played with: each program, and the package of Debian that brings it. */
const CONTAINER_TOOLS = JSON.parse(
  readFileSync(new URL("./container-tools.json", import.meta.url), "utf8"),
);

const MANAGERS = [
  {
    program: "apt-get",
    // Lists may be absent on a fresh machine, and too old on another: the install is tried after an update.
    prepare: ["apt-get", "update", "-qq"],
    install: ["apt-get", "install", "-y", "-qq", "--no-install-recommends"],
    packages: {
      bubblewrap: ["bubblewrap"],
      containers: Object.values(CONTAINER_TOOLS),
      compiler: ["gcc", "libc6-dev"],
      "static-libc": ["libc6-dev"],
    },
  },
  {
    program: "dnf",
    install: ["dnf", "install", "-y", "-q"],
    packages: {
      bubblewrap: ["bubblewrap"],
      compiler: ["gcc", "glibc-static"],
      "static-libc": ["glibc-static"],
    },
  },
  {
    program: "apk",
    install: ["apk", "add", "--quiet"],
    packages: {
      bubblewrap: ["bubblewrap"],
      compiler: ["gcc", "musl-dev", "linux-headers"],
      "static-libc": ["musl-dev"],
    },
  },
  {
    program: "pacman",
    install: ["pacman", "-S", "--noconfirm", "--needed"],
    packages: { bubblewrap: ["bubblewrap"], compiler: ["gcc"], "static-libc": ["glibc"] },
  },
  {
    program: "zypper",
    install: ["zypper", "--non-interactive", "--quiet", "install"],
    packages: {
      bubblewrap: ["bubblewrap"],
      compiler: ["gcc", "glibc-devel-static"],
      "static-libc": ["glibc-devel-static"],
    },
  },
];

/** The first executable of this name on PATH, or null. */
export function findOnPath(name, searchPath = process.env.PATH ?? "") {
  for (const dir of searchPath.split(":").filter((entry) => entry.startsWith("/"))) {
    try {
      accessSync(`${dir}/${name}`, constants.X_OK);
      return `${dir}/${name}`;
    } catch {
      // the next directory
    }
  }
  return null;
}

/** Which of the programs that images and pods need are not on PATH. */
export function missingContainerTools() {
  return Object.keys(CONTAINER_TOOLS).filter((program) => findOnPath(program) === null);
}

/** How this machine installs `what` ("bubblewrap", "compiler", "static-libc", "containers"): commands in order; null when we know no way. */
export function installSteps(what) {
  const manager = MANAGERS.find((candidate) => findOnPath(candidate.program) !== null);
  if (manager?.packages[what] === undefined) return null;
  return [
    ...(manager.prepare === undefined ? [] : [manager.prepare]),
    [...manager.install, ...manager.packages[what]],
  ];
}

/** The same as one line for a person. */
export function installCommand(what) {
  const steps = installSteps(what);
  if (steps === null)
    return `with your distribution's package manager (Debian names: ${MANAGERS[0].packages[what].join(" ")})`;
  const line = steps.map((words) => words.join(" ")).join(" && ");
  return process.getuid() === 0 ? line : `sudo sh -c "${line}"`;
}
