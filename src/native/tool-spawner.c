// tool-spawner: starts the sandboxes of tool calls, so that the tool-runner, large as it may be, never forks. Started once by the
// tool-runner, with a control socket as descriptor 3 and the two system call filters in a file as descriptor 4; ends with it.
//
// It never sees what a call carries: arguments, environment, files and pipes go from the tool-runner to the sandbox's own pid 1.
// Three mount namespaces: `host` has the host's paths, for binds; `templates` has the read-only roots; `bare` has only what a
// new sandbox needs before it has its root, and is the one it is cloned from. As root each sandbox gets a uid of the host that
// no other living one has; otherwise a user namespace of its own holds what rights this takes.
#include "tool-sandbox.h"
#include <sys/random.h>

//
// Sandboxes begin as blanks, made when there is nothing else to do: what takes longest of one, its network namespace first of
// all, is there before anybody knows what it will be for. Each becomes one sandbox, once.
enum { CONTROL_SOCKET = 3, FILTERS = 4, MAX_SANDBOXES = 256, MAX_TEMPLATES = 64, MAX_BINDS = 256, BLANK_PATIENCE_S = 10 };

struct sandbox {
  /** 0: nobody's yet */
  uint32_t id;
  /** nobody's, and waits for its call */
  bool blank;
  pid_t pid;
  int spawner_end;
  struct dedicated *dedicated;
};

static struct {
  bool root;
  struct inside inside;
  /** how many blanks wait when nothing happens, and how many more are tried for */
  int blanks, missing;
  int host, templates, bare;
  /** where the kernel reads this process's command line from, and that of each tool-init */
  char *title;
  size_t title_size;
  struct filters filters;
  bool template_used[MAX_TEMPLATES];
  struct sandbox sandboxes[MAX_SANDBOXES];
  struct dedicated uids[MAX_SANDBOXES];
} all;

/** Ends everything: no sandbox survives this process. */
static _Noreturn void end(const char *step) {
  send_failure(CONTROL_SOCKET, 0, errno, step, "");
  _exit(FAULT);
}

static void enter(int namespace) {
  if (setns(namespace, CLONE_NEWNS) != 0) end("setns");
}

static int open_namespace(void) {
  int fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  if (fd < 0) end("open /proc/self/ns/mnt");
  return fd;
}

static void become_able(void) {
  uid_t uid = geteuid();
  gid_t gid = getegid();
  all.root = uid == 0;
  if (all.root) {
    if (setgroups(0, NULL) != 0) end("setgroups");
    if (unshare(CLONE_NEWNS) != 0) end("mount namespace");
  } else {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) end("user namespace");
    if (!write_proc(getpid(), "setgroups", "deny", 4)) end("setgroups");
    if (!write_single_map(getpid(), "uid_map", uid, uid) || !write_single_map(getpid(), "gid_map", gid, gid)) end("id maps");
  }
  // What the host mounts later may be bound later; nothing mounted here comes back to it.
  if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0) end("mount propagation");
}

/** The namespaces `bare` and `templates`: a small tmpfs with /proc, a place for a sandbox's root, and places for templates. */
static void make_namespaces(void) {
  all.host = open_namespace();
  if (unshare(CLONE_NEWNS) != 0) end("mount namespace");
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) end("mount propagation");
  int proc = (int)syscall(SYS_open_tree, AT_FDCWD, "/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
  if (proc < 0) end("open_tree /proc");
  // Over /proc, because every machine has that directory.
  if (mount("tmpfs", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=1m,mode=0755") != 0 || chdir("/proc") != 0) end("mount tmpfs");
  if (mkdir("proc", 0555) != 0 || mkdir("new", 0755) != 0 || mkdir("templates", 0755) != 0) end("mkdir");
  if (syscall(SYS_move_mount, proc, "", AT_FDCWD, "proc", MOVE_MOUNT_F_EMPTY_PATH) != 0) end("move_mount /proc");
  close(proc);
  if (syscall(SYS_pivot_root, ".", ".") != 0) end("pivot_root");
  if (umount2(".", MNT_DETACH) != 0 || chdir("/") != 0) end("umount");
  all.bare = open_namespace();
  if (unshare(CLONE_NEWNS) != 0) end("mount namespace");
  all.templates = open_namespace();
  enter(all.bare);
}

/** Both filters, one after the other, each with its number of instructions before it. */
static void read_filters(void) {
  struct stat info;
  if (fstat(FILTERS, &info) != 0) end("filters");
  char *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, FILTERS, 0);
  if (bytes == MAP_FAILED) end("filters");
  struct cursor from = {.at = bytes, .end = bytes + info.st_size};
  for (int i = 0; i < 2; i++) {
    uint32_t count = read_u32(&from);
    struct sock_fprog *filter = i == 0 ? &all.filters.whole : &all.filters.tool;
    errno = EPROTO;
    if (from.bad || count == 0 || count > BPF_MAXINSNS || (size_t)(from.end - from.at) < count * sizeof(struct sock_filter)) end("filters");
    filter->len = (unsigned short)count;
    filter->filter = calloc(count, sizeof(struct sock_filter));
    if (filter->filter == NULL) end("filters");
    read_bytes(&from, filter->filter, count * sizeof(struct sock_filter));
  }
  munmap(bytes, (size_t)info.st_size);
  close(FILTERS);
}

static void choose_uids(uint32_t first) {
  for (uint32_t i = 0; i < MAX_SANDBOXES; i++) all.uids[i].uid = first + i;
}

static struct dedicated *take_uid(void) {
  for (int i = 0; i < MAX_SANDBOXES; i++)
    if (!all.uids[i].taken) {
      all.uids[i].taken = true;
      return &all.uids[i];
    }
  return NULL;
}

static void template_path(uint32_t slot, char *path, size_t size) { snprintf(path, size, "/templates/%u", slot); }

static void drop_template(uint32_t slot) {
  char path[32];
  template_path(slot, path, sizeof path);
  if (all.template_used[slot] && umount2(path, MNT_DETACH) != 0) end("umount template");
  all.template_used[slot] = false;
}

/** `T`: makes a template in a slot, in place of what was there. */
static bool build_template(uint32_t slot, int text, struct failure *why) {
  static int clones[MAX_TEMPLATE_BINDS];
  struct stat info;
  char path[32];
  template_path(slot, path, sizeof path);
  errno = EPROTO;
  if (slot >= MAX_TEMPLATES || text < 0 || fstat(text, &info) != 0) {
    fail(why, "template", "");
    if (text >= 0) close(text);
    return false;
  }
  // The failure's path is a view of it, so it stays until the next one.
  static char *bytes;
  static size_t mapped;
  if (bytes != NULL) munmap(bytes, mapped);
  mapped = (size_t)info.st_size;
  bytes = mmap(NULL, mapped, PROT_READ, MAP_PRIVATE, text, 0);
  close(text);
  if (bytes == MAP_FAILED) {
    bytes = NULL;
    return fail(why, "mmap", "");
  }
  struct cursor from = {.at = bytes, .end = bytes + mapped};
  enter(all.host);
  int count = clone_template_binds(from, clones, why);
  if (count < 0) return false;
  enter(all.templates);
  drop_template(slot);
  bool made = false;
  int root = -1;
  if (mkdir(path, 0755) != 0 && errno != EEXIST) fail(why, "mkdir", "");
  else if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "size=64m,nr_inodes=65536,mode=0755") != 0) fail(why, "mount tmpfs", "");
  else {
    all.template_used[slot] = true;
    root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    made = root >= 0 ? fill_template(root, from, clones, why) : fail(why, "open", "");
    // Only its own tmpfs: each bind has its flags already.
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME,
                                    .attr_clr = MOUNT_ATTR__ATIME};
    if (made && syscall(SYS_mount_setattr, root, "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0) made = fail(why, "mount_setattr", "");
  }
  while (count > 0) close(clones[--count]);
  if (root >= 0) close(root);
  if (!made) drop_template(slot);
  return made;
}

/** A clone of a template, for one sandbox. */
static int clone_template(uint32_t slot, struct failure *why) {
  char path[32];
  template_path(slot, path, sizeof path);
  enter(all.templates);
  errno = ENOENT;
  int root = slot < MAX_TEMPLATES && all.template_used[slot]
                 ? (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE)
                 : -1;
  if (root < 0) fail(why, "open_tree", "template");
  return root;
}

/** Opens the binds that a message lists and sends each to the sandbox with where it goes. */
static bool send_binds(struct cursor *from, const struct sandbox *sandbox, struct failure *why) {
  static char message[4200] = {'B'};
  int count = read_u16(from);
  errno = EPROTO;
  if (count > MAX_BINDS) return fail(why, "too many binds", "");
  enter(all.host);
  for (int i = 0; i < count; i++) {
    int flags = read_u8(from);
    const char *source = read_text(from), *target = read_text(from);
    size_t length = strlen(target);
    errno = EPROTO;
    if (from->bad || length >= sizeof message - 1) return fail(why, "bind", source);
    int tree = clone_of(source, flags & (BIND_WRITABLE | BIND_EXACT), sandbox->dedicated, why);
    if (tree < 0) return false;
    memcpy(message + 1, target, length);
    bool sent = send_message(sandbox->spawner_end, message, 1 + length, tree) || fail(why, "send", source);
    close(tree);
    if (!sent) return false;
  }
  return send_message(sandbox->spawner_end, "b", 1, -1) || fail(why, "send", "");
}

/** As root: a uid of the host that its pid 1 could not map itself. */
static bool write_maps(pid_t pid, const struct dedicated *dedicated) {
  return dedicated == NULL || (write_single_map(pid, "uid_map", all.inside.uid, dedicated->uid) &&
                               write_single_map(pid, "gid_map", all.inside.gid, dedicated->uid) && volunteer(pid));
}

/** Puts the new pid 1 into the control groups whose `cgroup.procs` came with the request. */
static bool join_groups(pid_t pid, const struct descriptors *with) {
  char text[16];
  size_t length = (size_t)snprintf(text, sizeof text, "%d", (int)pid);
  for (int i = 1; i < with->count; i++)
    if (write(with->list[i], text, length) != (ssize_t)length) return false;
  return true;
}

static struct sandbox *free_place(void) {
  for (int i = 0; i < MAX_SANDBOXES; i++)
    if (all.sandboxes[i].pid == 0) return &all.sandboxes[i];
  return NULL;
}

/** Clones a blank, whose pid 1 sets itself up from here on. NULL when that is not possible. */
static struct sandbox *make_blank(struct failure *why) {
  struct sandbox *place = free_place();
  struct dedicated *dedicated = place != NULL && all.root ? take_uid() : NULL;
  errno = EAGAIN;
  if (place == NULL || (all.root && dedicated == NULL)) return fail(why, "too many sandboxes", ""), NULL;
  int ends[2] = {-1, -1};
  pid_t pid = -1;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) fail(why, "socketpair", "");
  else {
    unsigned long flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | SIGCHLD;
    pid = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
    if (pid == 0) {
      // A tool may read the command line of its pid 1: nothing of this machine is in it.
      memset(all.title, 0, all.title_size);
      memcpy(all.title, "tool-init", sizeof "tool-init");
      run_sandbox(ends[1], &all.inside, all.root, &all.filters);
    }
    if (pid < 0) fail(why, "clone", "");
    close(ends[1]);
  }
  if (pid < 0) {
    if (ends[0] >= 0) close(ends[0]);
    if (dedicated != NULL) dedicated->taken = false;
    return NULL;
  }
  *place = (struct sandbox){.blank = true, .pid = pid, .spawner_end = ends[0], .dedicated = dedicated};
  struct timeval patience = {.tv_sec = BLANK_PATIENCE_S};
  if (setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0) fail(why, "setsockopt", "");
  else if (!write_maps(pid, dedicated)) fail(why, "id maps", "");
  else if (!send_message(ends[0], "g", 1, -1)) fail(why, "send", "");
  else return place;
  place->blank = false;
  // Reaped like any other.
  kill(pid, SIGKILL);
  return NULL;
}

/** Waits until a blank is set up; false when it could not be, or is gone. Afterwards it is a blank no more. */
static bool take_blank(struct sandbox *blank, struct failure *why) {
  static char said[640];
  blank->blank = false;
  ssize_t length;
  do length = recv(blank->spawner_end, said, sizeof said - 1, 0);
  while (length < 0 && errno == EINTR);
  if (length == 1 && said[0] == 'o') {
    // Nothing more comes before its order but its end.
    if (recv(blank->spawner_end, said, sizeof said, MSG_DONTWAIT) < 0 && errno == EAGAIN) return true;
    length = 0;
  }
  kill(blank->pid, SIGKILL);
  if (length == 0) errno = ECHILD;
  if (length < 11 || said[0] != 'E') return fail(why, "blank", "");
  said[length] = '\0';
  struct cursor from = {.at = said + 5, .end = said + length + 1};
  errno = (int)read_u32(&from);
  const char *step = read_text(&from);
  return fail(why, step, read_text(&from));
}

static struct sandbox *next_blank(void) {
  for (int i = 0; i < MAX_SANDBOXES; i++)
    if (all.sandboxes[i].pid != 0 && all.sandboxes[i].blank) return &all.sandboxes[i];
  return NULL;
}

/** A process for a new sandbox: one that waits, or one that is made now. */
static struct sandbox *begin_sandbox(struct failure *why) {
  for (struct sandbox *blank; (blank = next_blank()) != NULL;)
    if (take_blank(blank, why)) return blank;
  struct sandbox *made = make_blank(why);
  return made != NULL && take_blank(made, why) ? made : NULL;
}

static int count_blanks(void) {
  int count = 0;
  for (int i = 0; i < MAX_SANDBOXES; i++) count += all.sandboxes[i].pid != 0 && all.sandboxes[i].blank;
  return count;
}

/** `N`: makes a sandbox of a blank. Its pid 1 makes its root while its binds are opened here. */
static bool start_sandbox(uint32_t id, struct cursor from, const struct descriptors *with, struct failure *why) {
  const char *ordered = from.at;
  struct order order;
  errno = EPROTO;
  if (id == 0 || !read_order(&from, &order) || with->count < 1) return fail(why, "request", "");
  struct sandbox *sandbox = begin_sandbox(why);
  if (sandbox == NULL) return false;
  sandbox->id = id;
  int given[2] = {with->list[0], -1};
  unsigned char started[5] = {'C'};
  memcpy(started + 1, &(uint32_t){(uint32_t)sandbox->pid}, 4);
  bool good = (given[1] = clone_template(order.slot, why)) >= 0 &&
              (join_groups(sandbox->pid, with) || fail(why, "control group", "")) &&
              (send_message(given[0], started, sizeof started, -1) || fail(why, "send", "")) &&
              (send_with(sandbox->spawner_end, ordered, (size_t)(from.at - ordered), given, 2) || fail(why, "send", ""));
  if (given[1] >= 0) close(given[1]);
  good = good && (from.at == from.end || send_binds(&from, sandbox, why));
  // Reaped like any other, and told as gone.
  if (!good) kill(sandbox->pid, SIGKILL);
  return good;
}

static struct sandbox *by_id(uint32_t id) {
  for (int i = 0; i < MAX_SANDBOXES; i++)
    if (id != 0 && all.sandboxes[i].pid != 0 && all.sandboxes[i].id == id) return &all.sandboxes[i];
  return NULL;
}

/** `W`: how many blanks are to wait. Those that are too many end. */
static void keep_blanks(uint32_t count) {
  all.blanks = count < MAX_SANDBOXES / 2 ? (int)count : MAX_SANDBOXES / 2;
  all.missing = all.blanks - count_blanks();
  for (; all.missing < 0; all.missing++) {
    struct sandbox *blank = next_blank();
    blank->blank = false;
    kill(blank->pid, SIGKILL);
  }
}

static bool tell_gone(uint32_t id, uint32_t status) {
  unsigned char message[9] = {'G'};
  memcpy(message + 1, &id, 4);
  memcpy(message + 5, &status, 4);
  return send_message(CONTROL_SOCKET, message, sizeof message, -1);
}

static void handle(char *message, size_t length, struct descriptors *with) {
  struct cursor from = {.at = message + 1, .end = message + length};
  uint32_t about = read_u32(&from);
  struct failure why;
  struct sandbox *sandbox;
  errno = EPROTO;
  if (from.bad) end("control message");
  switch (message[0]) {
    case 'T':
      if (!build_template(about, take_descriptor(with, 0), &why)) send_failure(CONTROL_SOCKET, about | 0x80000000U, why.code, why.step, why.path);
      break;
    case 'N':
      if (!start_sandbox(about, from, with, &why)) {
        send_failure(CONTROL_SOCKET, about, why.code, why.step, why.path);
        // Without a process nobody would ever tell of its end.
        if (by_id(about) == NULL && !tell_gone(about, 0)) _exit(0);
      }
      all.missing = all.blanks - count_blanks();
      break;
    case 'B':
      sandbox = by_id(about);
      if (sandbox == NULL || send_binds(&from, sandbox, &why)) break;
      send_failure(CONTROL_SOCKET, about, why.code, why.step, why.path);
      kill(sandbox->pid, SIGKILL);
      break;
    case 'W':
      keep_blanks(about);
      break;
    case 'K':
      sandbox = by_id(about);
      // Not reaped yet, so its number is still its own.
      if (sandbox != NULL) kill(sandbox->pid, SIGKILL);
      break;
    default:
      end("control message");
  }
  enter(all.bare);
}

/** The end of pid 1 is the end of every process of its namespace: the kernel has waited for them. */
static void reap(void) {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
    for (int i = 0; i < MAX_SANDBOXES; i++) {
      struct sandbox *sandbox = &all.sandboxes[i];
      if (sandbox->pid != pid) continue;
      close(sandbox->spawner_end);
      if (sandbox->dedicated != NULL) sandbox->dedicated->taken = false;
      sandbox->pid = 0;
      if (sandbox->id != 0 && !tell_gone(sandbox->id, (uint32_t)status)) _exit(0);
    }
}

int main(int argc, char **argv) {
  static char message[MAX_MESSAGE];
  struct rlimit none = {0, 0};
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (setrlimit(RLIMIT_CORE, &none) != 0) end("core limit");
  if (fcntl(CONTROL_SOCKET, F_SETFD, FD_CLOEXEC) != 0 || syscall(SYS_close_range, FILTERS + 1, ~0U, 0) != 0) end("close_range");
  errno = EINVAL;
  if (argc != 4 || strlen(argv[0]) < sizeof "tool-init") end("arguments");
  uint32_t first = (uint32_t)strtoul(argv[1], NULL, 10);
  all.inside = (struct inside){.uid = (uint32_t)strtoul(argv[2], NULL, 10), .gid = (uint32_t)strtoul(argv[3], NULL, 10)};
  if (first < 65536 || all.inside.uid == 0) end("arguments");
  all.title = argv[0];
  all.title_size = (size_t)(argv[3] + strlen(argv[3]) - argv[0]);
  read_filters();
  become_able();
  // Not before: the files of a hidden process in /proc are not its own to write.
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) end("hide");
  make_namespaces();
  choose_uids(first);
  // Every tool has the signals as they are here: nothing ignored.
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  sigset_t every;
  sigfillset(&every);
  if (sigprocmask(SIG_SETMASK, &every, NULL) != 0) end("sigprocmask");
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  int died = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
  if (died < 0) end("signalfd");
  if (!send_message(CONTROL_SOCKET, "O", 1, -1)) return 0;
  struct pollfd watched[2] = {{.fd = CONTROL_SOCKET, .events = POLLIN}, {.fd = died, .events = POLLIN}};
  for (;;) {
    int ready;
    while ((ready = poll(watched, 2, all.missing > 0 ? 0 : -1)) < 0)
      if (errno != EINTR) end("poll");
    if (ready == 0) {
      // One that cannot be made is tried for again when it is needed, and whoever needs it is told why.
      struct failure unheard;
      all.missing = make_blank(&unheard) == NULL ? 0 : all.missing - 1;
      continue;
    }
    if (watched[1].revents != 0) {
      struct signalfd_siginfo ignored;
      while (read(died, &ignored, sizeof ignored) > 0) continue;
      reap();
    }
    if (watched[0].revents == 0) continue;
    struct descriptors with;
    ssize_t length = receive_message(CONTROL_SOCKET, message, sizeof message, &with, 0);
    // The tool-runner is gone: every sandbox sees the same, and the kernel ends what does not.
    if (length <= 0) return 0;
    handle(message, (size_t)length, &with);
    close_descriptors(&with);
  }
}
