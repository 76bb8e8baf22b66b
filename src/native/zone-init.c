// zone-init: pid 1 of zone A. Opens pseudo-terminals in the sandbox's own devpts, starts a program as session leader on
// each, hands the master out, reaps whatever dies, and reports the raw wait status of what it started.
// Outside a pid namespace (a container that is the zone) it works as a subreaper.
//
//   zone-init [--listen PORT]... [--processes N] [--abstract-sockets own] [--signals scoped]
#include "init.h"
#include <sys/ioctl.h>
#include <termios.h>

enum { MAX_PROGRAMS = 64 };

struct program {
  pid_t pid;
  uint32_t id;
};
static struct program programs[MAX_PROGRAMS];

/** Scopes of linux/landlock.h, which may be older than the kernel. They handle no files: sandboxes of the agent's own still mount. */
enum { SCOPE_ABSTRACT_SOCKETS = 1, SCOPE_SIGNALS = 2 };
/** A Landlock fence keeps our signals to what runs behind it, and those of our programs to themselves: none of them can end us. */
static bool signals_scoped;

static bool restrict_scope(uint64_t scope) {
  struct {
    uint64_t files, network, scoped;
  } rules = {.scoped = scope};
  int fd = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
  if (fd < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_landlock_restrict_self, fd, 0) != 0) return false;
  close(fd);
  return true;
}

static struct program *free_slot(void) {
  for (int i = 0; i < MAX_PROGRAMS; i++)
    if (programs[i].pid == 0) return &programs[i];
  return NULL;
}

/** A terminal as a person would find it, but without flow control: a Ctrl-S typed early must not freeze the program. */
static int open_terminal(const struct request *request, int *terminal) {
  int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (master < 0 || unlockpt(master) != 0) return -1;
  *terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  struct termios modes;
  struct winsize size = {.ws_col = request->cols, .ws_row = request->rows};
  if (*terminal < 0 || tcgetattr(*terminal, &modes) != 0) return -1;
  modes.c_iflag &= ~(tcflag_t)(IXON | IXANY | IXOFF);
  modes.c_iflag |= IUTF8;
  if (tcsetattr(*terminal, TCSANOW, &modes) != 0 || ioctl(*terminal, TIOCSWINSZ, &size) != 0) return -1;
  if (fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK) != 0) return -1;
  return master;
}

/**
 * A standard output that is the program's own: a socket, since others of the sandbox can open neither it nor, as they could a pipe, its
 * place in /proc. Ours is the end to read from; with it goes an end of the terminal that does not wait, to copy it to.
 */
static bool open_output(int master, int output[2], int *copy) {
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, output) != 0 || shutdown(output[0], SHUT_WR) != 0) return false;
  *copy = ioctl(master, TIOCGPTPEER, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  return *copy >= 0 && fcntl(output[0], F_SETFL, O_RDWR | O_NONBLOCK) == 0;
}

static void close_all(const int *list, int count) {
  for (int i = 0; i < count; i++)
    if (list[i] >= 0) close(list[i]);
}

/** `P`: the program runs; its terminal and, when it has an output of its own, what `open_output` made. */
static void tell_started(uint32_t id, uint32_t pid, const int *list, int count) {
  unsigned char message[9] = {'P'};
  memcpy(message + 1, &id, 4);
  memcpy(message + 5, &pid, 4);
  if (!send_with(CONTROL, message, sizeof message, list, count)) fault("control socket");
}

static void start(const struct request *request, bool apart) {
  struct program *slot = free_slot();
  int terminal = -1, failure[2] = {-1, -1}, output[2] = {-1, -1}, copy = -1;
  if (slot == NULL) {
    tell_failure(request->id, EAGAIN, "start");
    return;
  }
  int master = open_terminal(request, &terminal);
  if (master < 0 || (apart && !open_output(master, output, &copy)) || pipe2(failure, O_CLOEXEC) != 0) {
    tell_failure(request->id, (uint32_t)errno, "openpt");
    close_all((int[]){terminal, master, output[0], output[1], copy}, 5);
    return;
  }
  pid_t pid = fork();
  if (pid == 0) {
    if (setsid() < 0 || ioctl(terminal, TIOCSCTTY, 0) != 0) child_failed(failure[1], "setsid");
    for (int fd = 0; fd < 3; fd++)
      if (dup2(fd == STDOUT_FILENO && apart ? output[1] : terminal, fd) != fd) child_failed(failure[1], "dup2");
    if (signals_scoped && !restrict_scope(SCOPE_SIGNALS)) child_failed(failure[1], "landlock");
    become(request, failure[1]);
  }
  int code = errno;
  close(failure[1]);
  close(terminal);
  if (apart) close(output[1]);
  if (pid < 0) {
    tell_failure(request->id, (uint32_t)code, "fork");
    close(failure[0]);
  } else if (has_started(request->id, failure[0])) {
    *slot = (struct program){.pid = pid, .id = request->id};
    tell_started(request->id, (uint32_t)pid, (int[]){master, output[0], copy}, apart ? 3 : 1);
  }
  close_all((int[]){master, output[0], copy}, 3);
}

static void signal_all(int number) {
  if (getpid() == 1 || signals_scoped) {
    kill(-1, number);
    return;
  }
  // Not alone in this pid namespace: only the sessions that were started here.
  for (int i = 0; i < MAX_PROGRAMS; i++)
    if (programs[i].pid != 0) kill(-programs[i].pid, number);
}

/** One that has ended is not known any more, so its number cannot be another's. */
static void signal_program(uint32_t id, int number) {
  for (int i = 0; i < MAX_PROGRAMS; i++)
    if (programs[i].pid != 0 && programs[i].id == id) kill(-programs[i].pid, number);
}

static void reap(void) {
  int status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
    for (int i = 0; i < MAX_PROGRAMS; i++)
      if (programs[i].pid == pid) {
        programs[i].pid = 0;
        tell_numbers('X', programs[i].id, (uint32_t)status, -1);
      }
}

/**
 * In the host's network the abstract sockets of its desktop (X11, the session bus) would take commands from the same user. A
 * Landlock scope (Linux 6.12) keeps to those made inside. Older kernels lack it: docs/security.md says so.
 */
static void keep_to_own_abstract_sockets(void) {
  if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 6) return;
  if (!restrict_scope(SCOPE_ABSTRACT_SOCKETS)) fault("landlock");
}

int main(int argc, char **argv) {
  int children = begin();
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--listen") == 0) offer_listener((uint16_t)atoi(argv[i + 1]));
    else if (strcmp(argv[i], "--abstract-sockets") == 0 && strcmp(argv[i + 1], "own") == 0) keep_to_own_abstract_sockets();
    else if (strcmp(argv[i], "--signals") == 0 && strcmp(argv[i + 1], "scoped") == 0) signals_scoped = true;
    else if (strcmp(argv[i], "--processes") == 0) limit(RLIMIT_NPROC, "processes", argv[i + 1]);
    else {
      errno = EINVAL;
      fault(argv[i]);
    }
  }
  tell("R", 1, -1);
  static char message[MAX_MESSAGE + 1];
  static struct request request;
  for (;;) {
    size_t length = wait_for(children, message, MAX_MESSAGE);
    if (length == 0) reap();
    else if (parse_request(message, length, &request)) start(&request, message[0] == 'O');
    else if (length == 5 && message[0] == 'K') {
      uint32_t number;
      memcpy(&number, message + 1, 4);
      signal_all((int)number);
    } else if (length == 9 && message[0] == 'K') {
      uint32_t number, id;
      memcpy(&number, message + 1, 4);
      memcpy(&id, message + 5, 4);
      signal_program(id, (int)number);
    } else {
      errno = EPROTO;
      fault("control message");
    }
  }
}
