// The inside of a tool's sandbox, from the first instruction after clone(2) to the tool's own. Pid 1 of new namespaces first
// does what is the same for every sandbox, and waits as a blank; its one order makes it a sandbox with a root of its own; its one
// request makes it give up every right, start the tool and report its raw wait status. When the tool is reaped this process
// ends, and the kernel ends whatever else is left in the namespace. Every failure is told and is the end. Nothing here was
// chosen by the tool, except below its own binds, where links are never followed.
#ifndef AGENTKUBE_TOOL_SANDBOX_H
#define AGENTKUBE_TOOL_SANDBOX_H
#include "init.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include "mounts.h"
#include "sandbox-order.h"

/** After stdio and CONTROL: our end of the pair with tool-spawner, and file systems that are not mounted yet. */
enum { SPAWNER = 4, PROC = 5, ROOT = 6, SET_UP = 0 };

/** In `cols` of a request, beside a bit for each of stdio. */
enum { DIRECTORY_WANTED = 8 };

/** CONTROL leads to tool-spawner until there is an order, and then to the tool-runner. */
static _Noreturn void refuse(uint32_t about, const char *step, const char *path) {
  send_failure(CONTROL, about, errno, step, path);
  _exit(FAULT);
}

#define MUST(condition, step, path) \
  do {                              \
    if (!(condition)) refuse(SET_UP, step, path); \
  } while (0)

/** Moves a descriptor to where it belongs; what lay there is closed. */
static void place(int from, int to) {
  if (from == to) return;
  MUST(dup2(from, to) == to, "dup2", "");
  close(from);
}

/** This process in the host's pid namespace, which is the one that /proc still shows. */
static pid_t own_host_pid(void) {
  char text[16] = {0};
  return readlink("/proc/self", text, sizeof text - 1) > 0 ? (pid_t)atoi(text) : 0;
}

static bool write_single_map(pid_t pid, const char *name, uint32_t inside, uint32_t outside) {
  char map[64];
  return write_proc(pid, name, map, (size_t)snprintf(map, sizeof map, "%u %u 1\n", inside, outside));
}

/** The kernel ends a tool before anything else of this machine. */
static bool volunteer(pid_t pid) { return write_proc(pid, "oom_score_adj", "1000", 4); }

/**
 * Becomes the sandbox's user, still with all rights inside. Another uid of the host is given to it by tool-spawner, which may; its own
 * it maps itself, for which its /proc files must be its own for a moment.
 */
static void become_user(const struct inside *inside, bool has_dedicated_uid) {
  char go;
  if (!has_dedicated_uid) {
    MUST(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0, "dumpable", "");
    pid_t self = own_host_pid();
    MUST(write_single_map(self, "uid_map", inside->uid, inside->uid), "uid_map", "");
    MUST(write_single_map(self, "gid_map", inside->gid, inside->gid), "gid_map", "");
    MUST(volunteer(self), "oom_score_adj", "");
  }
  ssize_t got;
  do got = recv(SPAWNER, &go, 1, 0);
  while (got < 0 && errno == EINTR);
  if (got != 1) _exit(0);
  if (has_dedicated_uid) MUST(setgroups(0, NULL) == 0, "setgroups", "");
  MUST(setresgid(inside->gid, inside->gid, inside->gid) == 0, "setresgid", "");
  MUST(setresuid(inside->uid, inside->uid, inside->uid) == 0, "setresuid", "");
  // After the change of user, which would undo both.
  MUST(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "not dumpable", "");
  MUST(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0, "parent death signal", "");
  struct pollfd spawner = {.fd = SPAWNER, .events = POLLIN};
  if (poll(&spawner, 1, 0) < 0 || (spawner.revents & POLLHUP) != 0) _exit(0);
}

static void loopback_up(void) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  MUST(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0, "loopback", "");
  close(fd);
}

/** A setting of this sandbox's own namespaces. */
static void set(int proc, const char *name, const char *value) {
  int fd = openat(proc, name, O_WRONLY | O_CLOEXEC);
  MUST(fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value), "write", name);
  close(fd);
}

/** The same, where the kernel offers it to an ordinary user's namespace, which older ones do not. */
static void set_if_offered(int proc, const char *name, const char *value) {
  if (faccessat(proc, name, F_OK, 0) == 0 || errno != ENOENT) set(proc, name, value);
}

/**
 * The sandbox's own /proc, mounted nowhere yet. Before it is read-only: no user namespace below this one, whatever a filter lets
 * through, no more of the kernel's memory for a connection than for a socket of another kind, which no process's size shows, and
 * few connections that wait for somebody to accept them, which are no process's descriptors.
 */
static void make_proc(void) {
  int context = (int)syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
  MUST(context >= 0 && syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0, "proc", "/proc");
  int made = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  MUST(made >= 0, "fsmount", "/proc");
  close(context);
  set(made, "sys/user/max_user_namespaces", "0");
  set(made, "sys/net/ipv4/tcp_rmem", "4096 65536 131072");
  set(made, "sys/net/ipv4/tcp_wmem", "4096 16384 131072");
  set_if_offered(made, "sys/net/core/somaxconn", "64");
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
  MUST(syscall(SYS_mount_setattr, made, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0, "mount_setattr", "/proc");
  place(made, PROC);
}

/** The template's clone becomes the root; the spawner's own few mounts are gone from here after it. */
static void enter_root(void) {
  MUST(syscall(SYS_move_mount, ROOT, "", AT_FDCWD, "/new", MOVE_MOUNT_F_EMPTY_PATH) == 0, "move_mount", "/");
  MUST(chdir("/new") == 0, "chdir", "/");
  MUST(syscall(SYS_move_mount, PROC, "", AT_FDCWD, "proc", MOVE_MOUNT_F_EMPTY_PATH) == 0, "move_mount", "/proc");
  close(ROOT);
  close(PROC);
  MUST(syscall(SYS_pivot_root, ".", ".") == 0, "pivot_root", "/");
  MUST(umount2(".", MNT_DETACH) == 0, "umount", "/");
  MUST(chdir("/") == 0, "chdir", "/");
  // An ordinary user's sandbox has that user's id: it would list the names of all their keys.
  MUST(mount("/dev/null", "/proc/keys", NULL, MS_BIND, NULL) == 0 || errno == ENOENT, "mount", "/proc/keys");
}

static void mount_tmpfs(const struct order *order) {
  for (int i = 0; i < order->places; i++) {
    char options[96];
    snprintf(options, sizeof options, "size=%llu,nr_inodes=%u,mode=%o", (unsigned long long)order->tmpfs[i].bytes, order->tmpfs[i].inodes,
             order->tmpfs[i].mode);
    MUST(mount("tmpfs", order->tmpfs[i].path, "tmpfs", MS_NOSUID | MS_NODEV, options) == 0, "mount", order->tmpfs[i].path);
  }
}

/** An opened path of the sandbox, no link followed anywhere on the way. */
static int beneath_root(const char *path, int flags) {
  struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
  return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}

static void attach(int tree, const char *path) {
  int target = beneath_root(path, O_PATH);
  if (target < 0 && errno == ENOENT) {
    // A place in one of the call's own tmpfs; elsewhere the template has it, or its file system is read-only.
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    MUST(root >= 0 && make_parents(root, path, 0755) && make_place(root, path, is_directory(tree)), "create", path);
    close(root);
    target = beneath_root(path, O_PATH);
  }
  MUST(target >= 0, "open", path);
  MUST(syscall(SYS_move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0, "move_mount", path);
  close(target);
  close(tree);
}

/** Takes the call's binds from tool-spawner, each a clone and where it goes, up to the message that ends them. */
static void take_binds(void) {
  static char message[4200];
  for (;;) {
    struct descriptors with;
    ssize_t length = receive_message(SPAWNER, message, sizeof message - 1, &with, 0);
    if (length <= 0) _exit(0);
    message[length] = '\0';
    if (message[0] == 'b') return;
    int tree = take_descriptor(&with, 0);
    if (tree < 0) _exit(0);
    attach(tree, message + 1);
  }
}

/** `F`: one file of this call alone, on a tmpfs of its own that ends with the sandbox. */
static void take_file(struct cursor from, struct descriptors *with) {
  mode_t mode = read_u16(&from) & 0777;
  const char *path = read_text(&from);
  int source = take_descriptor(with, 0);
  struct stat info;
  MUST(!from.bad && source >= 0 && fstat(source, &info) == 0, "file", path);
  int context = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
  char size[32];
  snprintf(size, sizeof size, "%llu", (unsigned long long)info.st_size + 8192);
  MUST(context >= 0 && syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "size", size, 0) == 0 &&
           syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "nr_inodes", "4", 0) == 0 &&
           syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "mode", "0700", 0) == 0 &&
           syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0,
       "tmpfs", path);
  int made = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  MUST(made >= 0, "fsmount", path);
  close(context);
  void *data = info.st_size > 0 ? mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, source, 0) : NULL;
  MUST(data != MAP_FAILED, "mmap", path);
  MUST(make_file(made, "/file", mode, data, (size_t)info.st_size), "create", path);
  if (data != NULL) munmap(data, (size_t)info.st_size);
  close(source);
  // The file alone is seen: a clone of it is put where it goes.
  MUST(syscall(SYS_move_mount, made, "", AT_FDCWD, "/opt/agentkube", MOVE_MOUNT_F_EMPTY_PATH) == 0, "move_mount", path);
  int file = (int)syscall(SYS_open_tree, AT_FDCWD, "/opt/agentkube/file", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  MUST(file >= 0, "open_tree", path);
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
  MUST(syscall(SYS_mount_setattr, file, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0, "mount_setattr", path);
  MUST(umount2("/opt/agentkube", MNT_DETACH) == 0, "umount", path);
  close(made);
  attach(file, path);
}

/** Limits of every process of the call. None is ever more than what this process itself may have. */
static void take_limits(struct cursor *from) {
  for (int left = read_u8(from); left > 0; left--) {
    uint32_t resource = read_u32(from);
    uint64_t bound = read_u64(from);
    struct rlimit has;
    MUST(!from->bad && getrlimit((int)resource, &has) == 0, "getrlimit", "");
    struct rlimit wanted = {.rlim_cur = bound < has.rlim_max ? bound : has.rlim_max};
    wanted.rlim_max = wanted.rlim_cur;
    MUST(setrlimit((int)resource, &wanted) == 0, "setrlimit", "");
  }
}

/** No program that is started here will have more rights than this process. Its own it keeps for its root and its mounts. */
static void bound_rights(void) {
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs", "");
  MUST(prctl(PR_SET_SECUREBITS, 0x2f, 0, 0, 0) == 0, "securebits", "");
  MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0, "ambient capabilities", "");
  for (int each = 0; prctl(PR_CAPBSET_READ, each, 0, 0, 0) >= 0; each++)
    MUST(prctl(PR_CAPBSET_DROP, each, 0, 0, 0) == 0, "bounding capabilities", "");
}

/** From here on this process can do nothing that its tool could not, but see the control socket. */
static void give_up_rights(const struct filters *filters) {
  struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[2] = {{0}};
  MUST(syscall(SYS_capset, &head, none) == 0, "capset", "");
  MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filters->whole) == 0, "seccomp", "");
}

/** Shared with the tool's process until it has become its program. */
static struct {
  volatile int code;
  const char *volatile step;
} start_failure;

static _Noreturn void not_started(const char *step) {
  start_failure.code = errno;
  start_failure.step = step;
  _exit(127);
}

/** In the tool's process: its session, its pipes, nothing else open, its directory, the second filter, its program. */
static _Noreturn void become_tool(const struct request *request, const struct descriptors *stdio, const struct filters *filters) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  // A session of its own, without a terminal: nothing the tool does reaches pid 1 by its group.
  if (setsid() < 0) not_started("setsid");
  for (int bit = 0, at = 0; bit < 3; bit++)
    if ((request->cols & (1 << bit)) != 0 && dup2(stdio->list[at++], bit) != bit) not_started("stdio");
  if (syscall(SYS_close_range, CONTROL, ~0U, 0) != 0) not_started("close_range");
  if (chdir(request->cwd) != 0) not_started("chdir");
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filters->tool) != 0) not_started("seccomp");
  // The search for a bare name follows the PATH the program gets.
  environ = (char **)request->env;
  execvpe(request->argv[0], request->argv, request->env);
  not_started("exec");
}

/** The directory that the tool will work in, for whoever reads its files when all of this is gone: no name leads there then. */
static void give_directory(const struct request *request) {
  int fd = open(request->cwd, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) refuse(request->id, "open", request->cwd);
  tell("W", 1, fd);
  close(fd);
}

static pid_t start_tool(const struct request *request, struct descriptors *stdio, const struct filters *filters) {
  pid_t pid = vfork();
  if (pid == 0) become_tool(request, stdio, filters);
  if (pid < 0) refuse(request->id, "fork", "");
  // Only the tool holds its pipes, so that their ends are seen when it closes them.
  close_descriptors(stdio);
  if (start_failure.step != NULL) {
    errno = start_failure.code;
    refuse(request->id, start_failure.step, request->argv[0]);
  }
  tell_numbers('P', request->id, (uint32_t)pid, -1);
  return pid;
}

/** How many descriptors a request brings: one for each of the tool's stdio that is not /dev/null. */
static int stdio_count(const struct request *request) {
  return (request->cols & 1) + ((request->cols >> 1) & 1) + ((request->cols >> 2) & 1);
}

/** What is the same for every sandbox: user, session, loopback, bounds. `died` is where it hears of dead children. */
static void become_blank(int spawner, const struct inside *inside, bool has_dedicated_uid, int *died) {
  // ROOT is kept for what comes with the order.
  if (dup2(spawner, CONTROL) != CONTROL || dup2(spawner, ROOT) != ROOT) _exit(FAULT);
  place(spawner, SPAWNER);
  close(PROC);
  MUST(syscall(SYS_close_range, ROOT + 1, ~0U, 0) == 0, "close_range", "");
  prctl(PR_SET_NAME, "tool-init");
  become_user(inside, has_dedicated_uid);
  MUST(setsid() >= 0, "setsid", "");
  loopback_up();
  make_proc();
  bound_rights();
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  *died = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
  MUST(*died >= 0, "signalfd", "");
}

/** Waits for its order, which comes with the control socket and the root. */
static void take_order(char *message, struct order *order) {
  struct descriptors with;
  ssize_t length = receive_message(SPAWNER, message, MAX_MESSAGE, &with, 0);
  // Nobody needs it.
  if (length <= 0) _exit(0);
  struct cursor from = {.at = message, .end = message + length};
  int control = take_descriptor(&with, 0), root = take_descriptor(&with, 1);
  errno = EPROTO;
  MUST(read_order(&from, order) && control >= 0 && root >= 0, "order", "");
  place(control, CONTROL);
  place(root, ROOT);
}

/**
 * The whole life of pid 1. `cols` of its one request says which of stdio are its descriptors and whether the directory is wanted,
 * `rows` whether binds follow from tool-spawner.
 */
static _Noreturn void run_sandbox(int spawner, const struct inside *inside, bool has_dedicated_uid, const struct filters *filters) {
  // The order is a view of its message.
  static char message[MAX_MESSAGE + 1], ordered[MAX_MESSAGE];
  static struct request request;
  struct order order = {0};
  int died;
  become_blank(spawner, inside, has_dedicated_uid, &died);
  MUST(send_message(SPAWNER, "o", 1, -1), "send", "");
  take_order(ordered, &order);
  MUST(sethostname(order.hostname, strlen(order.hostname)) == 0, "sethostname", "");
  enter_root();
  mount_tmpfs(&order);
  for (int fd = 0; fd < 3; fd++) close(fd);
  for (int fd = 0; fd < 3; fd++) MUST(open("/dev/null", O_RDWR) == fd, "open", "/dev/null");
  for (int i = 0; i < order.ports; i++) offer_listener(order.port[i]);
  if (order.complete) give_up_rights(filters);
  tell("R", 1, -1);

  pid_t tool = 0;
  struct pollfd watched[3] = {{.fd = CONTROL, .events = POLLIN}, {.fd = died, .events = POLLIN}, {.fd = SPAWNER}};
  for (;;) {
    while (poll(watched, 3, -1) < 0) MUST(errno == EINTR, "poll", "");
    if (watched[2].revents != 0) _exit(0);
    if (watched[1].revents != 0) {
      struct signalfd_siginfo ignored;
      while (read(died, &ignored, sizeof ignored) > 0) continue;
      int status;
      for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == tool) {
          tell_numbers('X', request.id, (uint32_t)status, -1);
          _exit(0);
        }
    }
    if (watched[0].revents == 0) continue;
    struct descriptors with;
    ssize_t length = receive_message(CONTROL, message, MAX_MESSAGE, &with, 0);
    // The peer is gone: nothing may outlive it.
    if (length <= 0) _exit(0);
    char *end = message + length;
    struct cursor from = {.at = message + 1, .end = end};
    errno = EPROTO;
    MUST(tool == 0, "control message", "");
    if (message[0] == 'F') {
      take_file(from, &with);
      close_descriptors(&with);
      continue;
    }
    MUST(message[0] == 'M', "control message", "");
    take_limits(&from);
    char *start = message + (from.at - message);
    errno = EPROTO;
    MUST(!from.bad && parse_request(start, (size_t)(end - start), &request) && with.count == stdio_count(&request), "control message", "");
    if (request.rows != 0) take_binds();
    if (!order.complete) give_up_rights(filters);
    if ((request.cols & DIRECTORY_WANTED) != 0) give_directory(&request);
    tool = start_tool(&request, &with, filters);
  }
}
#endif
