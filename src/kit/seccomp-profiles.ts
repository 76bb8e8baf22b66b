/**
 * Seccomp filters as data; seccomp.ts compiles them. Default is allow: what is listed is refused.
 * A tool has two: `tool-init` holds for everything in its sandbox, and `tool` comes on top of it just before the tool itself.
 */
export type SeccompProfile = "zone" | "tool-init" | "tool";

/** What a refused caller is told. `ignored`: that it was done. */
export const ERRNO = {
  ignored: 0,
  EPERM: 1,
  EINVAL: 22,
  EMFILE: 24,
  ENOSYS: 38,
  EOPNOTSUPP: 95,
} as const;
type Refusal = keyof typeof ERRNO;

/** System call numbers of x64 and arm64; null where the architecture does not have it. */
export const NUMBERS = {
  ptrace: [101, 117],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  pidfd_getfd: [438, 438],
  kcmp: [312, 272],
  mount: [165, 40],
  umount2: [166, 39],
  fsopen: [430, 430],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fspick: [433, 433],
  move_mount: [429, 429],
  mount_setattr: [442, 442],
  open_tree: [428, 428],
  open_tree_attr: [467, 467],
  file_setattr: [469, 469],
  pivot_root: [155, 41],
  chroot: [161, 51],
  setns: [308, 268],
  unshare: [272, 97],
  bpf: [321, 280],
  perf_event_open: [298, 241],
  userfaultfd: [323, 282],
  keyctl: [250, 219],
  add_key: [248, 217],
  request_key: [249, 218],
  kexec_load: [246, 104],
  kexec_file_load: [320, 294],
  init_module: [175, 105],
  finit_module: [313, 273],
  delete_module: [176, 106],
  name_to_handle_at: [303, 264],
  open_by_handle_at: [304, 265],
  swapon: [167, 224],
  swapoff: [168, 225],
  acct: [163, 89],
  quotactl: [179, 60],
  quotactl_fd: [443, 443],
  reboot: [169, 142],
  settimeofday: [164, 170],
  clock_settime: [227, 112],
  iopl: [172, null],
  ioperm: [173, null],
  modify_ldt: [154, null],
  personality: [135, 92],
  fanotify_init: [300, 262],
  lookup_dcookie: [212, 18],
  move_pages: [279, 239],
  migrate_pages: [256, 238],
  mbind: [237, 235],
  set_mempolicy: [238, 237],
  set_mempolicy_home_node: [450, 450],
  vmsplice: [278, 75],
  io_uring_setup: [425, 425],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  clone: [56, 220],
  clone3: [435, 435],
  socket: [41, 198],
  ioctl: [16, 29],
  chmod: [90, null],
  fchmod: [91, 52],
  fchmodat: [268, 53],
  fchmodat2: [452, 452],
  open: [2, null],
  openat: [257, 56],
  openat2: [437, 437],
  creat: [85, null],
  mknod: [133, null],
  mknodat: [259, 33],
  setxattr: [188, 5],
  lsetxattr: [189, 6],
  fsetxattr: [190, 7],
  setxattrat: [463, 463],
  syslog: [103, 116],
  vhangup: [153, 58],
  uselib: [134, null],
  memfd_secret: [447, 447],
  memfd_create: [319, 279],
  shmget: [29, 194],
  msgget: [68, 186],
  semget: [64, 190],
  socketpair: [53, 199],
  mmap: [9, 222],
  madvise: [28, 233],
  process_madvise: [440, 440],
  setsockopt: [54, 208],
  prlimit64: [302, 261],
  inotify_init: [253, null],
  inotify_init1: [294, 26],
  io_setup: [206, 0],
  fcntl: [72, 25],
  landlock_create_ruleset: [444, 444],
  landlock_add_rule: [445, 445],
  landlock_restrict_self: [446, 446],
} as const satisfies Record<string, readonly [number | null, number | null]>;
type Syscall = keyof typeof NUMBERS;

/** When a rule refuses. Arguments are compared by their low 32 bits, which is what the kernel uses of these. */
type Condition =
  | { kind: "always" }
  | { kind: "anyBit"; argument: number; bits: number }
  | { kind: "isOneOf"; argument: number; mask?: number; values: number[] }
  | { kind: "isNoneOf"; argument: number; mask?: number; values: number[] }
  | { kind: "createsWithBits"; flags: number; mode: number; bits: number }
  | { kind: "areBoth"; arguments: readonly [number, number]; first: number; second: number };

export interface Rule {
  call: Syscall;
  refusal: Refusal;
  when: Condition;
}

const ALWAYS: Condition = { kind: "always" };
const SET_ID_BITS = 0o6000;
const NEW_NAMESPACES = 0x7e02_0000;
const AF = { unix: 1, inet: 2, inet6: 10, netlink: 16 };
const SOCK = { stream: 1, datagram: 2, seqpacket: 5 };
const [TCP, UDP] = [6, 17];
/** MAP_SHARED and MAP_ANONYMOUS. */
const SHARED_ANONYMOUS = 0x21;
const MAP_HUGETLB = 0x4_0000;
const MADV_PAGEOUT = 21;
const CLONE_FILES = 0x400;
const CLONE_THREAD = 0x1_0000;
const SOL_SOCKET = 1;
const [SO_SNDBUF, SO_RCVBUF] = [7, 8];
const F_SETLEASE = 1024;
const F_NOTIFY = 1026;
const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;

function refuse(calls: Syscall[], refusal: Refusal, when: Condition = ALWAYS): Rule[] {
  return calls.map((call) => ({ call, refusal, when }));
}

/**
 * For both profiles. Mode bits 06000 and extended attributes (file capabilities) are refused because a file of the workspace
 * belongs on disk to the user, or root: such a file would give its owner's power to whoever runs it on the host.
 * openat2 and io_uring carry their arguments in memory, where a filter cannot see them.
 */
const COMMON: Rule[] = [
  {
    call: "openat",
    refusal: "EPERM",
    when: { kind: "createsWithBits", flags: 2, mode: 3, bits: SET_ID_BITS },
  },
  {
    call: "open",
    refusal: "EPERM",
    when: { kind: "createsWithBits", flags: 1, mode: 2, bits: SET_ID_BITS },
  },
  ...refuse(["openat2", "io_uring_setup", "io_uring_enter", "io_uring_register"], "ENOSYS"),
  ...refuse(["creat", "chmod", "fchmod"], "EPERM", {
    kind: "anyBit",
    argument: 1,
    bits: SET_ID_BITS,
  }),
  ...refuse(["fchmodat", "fchmodat2"], "EPERM", { kind: "anyBit", argument: 2, bits: SET_ID_BITS }),
  { call: "mknod", refusal: "EPERM", when: { kind: "anyBit", argument: 1, bits: SET_ID_BITS } },
  { call: "mknodat", refusal: "EPERM", when: { kind: "anyBit", argument: 2, bits: SET_ID_BITS } },
  ...refuse(["setxattr", "lsetxattr", "fsetxattr", "setxattrat"], "EOPNOTSUPP"),
  // Flags of a file, told in memory.
  ...refuse(["file_setattr"], "ENOSYS"),
  // Typing into the terminal of whoever started us (CVE-2017-5226).
  ...refuse(["ioctl"], "EPERM", { kind: "isOneOf", argument: 1, values: [TIOCSTI, TIOCLINUX] }),
  // The kernel's keyrings are not part of any namespace; the others reach what no sandbox needs.
  ...refuse(["keyctl", "add_key", "request_key"], "EPERM"),
  ...refuse(["bpf", "perf_event_open", "userfaultfd", "kexec_load", "kexec_file_load"], "EPERM"),
  ...refuse(
    ["init_module", "finit_module", "delete_module", "open_by_handle_at", "swapon", "swapoff"],
    "EPERM",
  ),
  ...refuse(
    ["acct", "quotactl", "quotactl_fd", "reboot", "settimeofday", "clock_settime"],
    "EPERM",
  ),
  ...refuse(
    ["iopl", "ioperm", "lookup_dcookie", "syslog", "vhangup", "uselib", "fanotify_init"],
    "EPERM",
  ),
];

export const PROFILES: Record<SeccompProfile, Rule[]> = {
  // The agent's own sandboxes and debuggers must work: namespaces, mounts and ptrace stay allowed. VSOCK is not namespaced.
  zone: [
    ...COMMON,
    ...refuse(["socket"], "EPERM", {
      kind: "isNoneOf",
      argument: 0,
      values: [AF.unix, AF.inet, AF.inet6, AF.netlink],
    }),
  ],
  "tool-init": [
    ...COMMON,
    ...refuse(["clone"], "EPERM", { kind: "anyBit", argument: 0, bits: NEW_NAMESPACES }),
    // libc falls back to clone, whose flags can be seen.
    ...refuse(["clone3"], "ENOSYS"),
    ...refuse(
      ["unshare", "setns", "mount", "umount2", "fsopen", "fsconfig", "fsmount", "fspick"],
      "EPERM",
    ),
    ...refuse(
      ["move_mount", "mount_setattr", "open_tree", "open_tree_attr", "pivot_root", "chroot"],
      "EPERM",
    ),
    ...refuse(["name_to_handle_at"], "EPERM"),
    ...refuse(
      ["ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "modify_ldt"],
      "EPERM",
    ),
    ...refuse(
      ["move_pages", "migrate_pages", "mbind", "set_mempolicy", "set_mempolicy_home_node"],
      "EPERM",
    ),
    ...refuse(["vmsplice", "memfd_secret"], "EPERM"),
    // Memory that no process maps is in no process's size, so the watchdog would not see it.
    ...refuse(["memfd_create", "shmget", "msgget", "semget"], "ENOSYS"),
    // Pages of such a mapping stay when a process lets go of them.
    ...refuse(["mmap"], "EPERM", {
      kind: "isOneOf",
      argument: 3,
      mask: SHARED_ANONYMOUS,
      values: [SHARED_ANONYMOUS],
    }),
    // Pages of their own kind, in no process's size either.
    ...refuse(["mmap"], "EPERM", { kind: "anyBit", argument: 3, bits: MAP_HUGETLB }),
    // A process's descriptors are counted by those of one of its threads.
    ...refuse(["clone"], "EPERM", {
      kind: "isOneOf",
      argument: 0,
      mask: CLONE_THREAD | CLONE_FILES,
      values: [CLONE_THREAD],
    }),
    // What it swaps out itself is in no process's size any more. Kernels before 5.4 say the same.
    ...refuse(["madvise"], "EINVAL", { kind: "isOneOf", argument: 2, values: [MADV_PAGEOUT] }),
    ...refuse(["process_madvise"], "EINVAL", {
      kind: "isOneOf",
      argument: 3,
      values: [MADV_PAGEOUT],
    }),
    // Whoever watches /usr or the package sees what others run; a lease holds up their opens for 45 s. Programs know how to do
    // without: instances run out everywhere.
    ...refuse(["inotify_init", "inotify_init1"], "EMFILE"),
    ...refuse(["fcntl"], "EPERM", { kind: "isOneOf", argument: 1, values: [F_SETLEASE, F_NOTIFY] }),
    // Rules are the kernel's memory, without a bound and in no process's size. Programs know how to do without.
    ...refuse(["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"], "ENOSYS"),
    // Counted for the whole machine.
    ...refuse(["io_setup"], "ENOSYS"),
    {
      call: "personality",
      refusal: "EPERM",
      when: { kind: "isNoneOf", argument: 0, values: [0, 0xffff_ffff] },
    },
  ],
  // Every other family reaches past the network namespace, or hands descriptors on; socketpair stays.
  tool: [
    ...refuse(["socket"], "EPERM", { kind: "isNoneOf", argument: 0, values: [AF.inet, AF.inet6] }),
    ...refuse(["socket"], "EPERM", {
      kind: "isNoneOf",
      argument: 1,
      mask: 0xf,
      values: [SOCK.stream, SOCK.datagram],
    }),
    // A socket's buffers are the kernel's memory, and in no process's size: they stay as small as they come.
    ...[SO_SNDBUF, SO_RCVBUF].flatMap((second) =>
      refuse(["setsockopt"], "ignored", {
        kind: "areBoth",
        arguments: [1, 2],
        first: SOL_SOCKET,
        second,
      }),
    ),
    // Its own limits only: pid 1 has the same user, and one without memory cannot say how the tool ended.
    ...refuse(["prlimit64"], "EPERM", { kind: "isNoneOf", argument: 0, values: [0] }),
    // SCTP, MPTCP and their like are loaded by the kernel for whoever asks, and nothing here speaks them.
    ...refuse(["socket"], "EPERM", { kind: "isNoneOf", argument: 2, values: [0, TCP, UDP] }),
    ...refuse(["socketpair"], "EPERM", { kind: "isNoneOf", argument: 0, values: [AF.unix] }),
    // An end of a pair for datagrams can be bound to a path and sent from to any other: a socket in all but its name.
    ...refuse(["socketpair"], "EPERM", {
      kind: "isNoneOf",
      argument: 1,
      mask: 0xf,
      values: [SOCK.stream, SOCK.seqpacket],
    }),
  ],
};
