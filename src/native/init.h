// What zone-init and tool-init share: the control socket (docs/architecture.md has its messages), listeners on the
// namespace's loopback, requests to start a program, and the loop of a pid 1. Everything here fails by ending the namespace.
#ifndef AGENTKUBE_INIT_H
#define AGENTKUBE_INIT_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "message.h"

enum { CONTROL = 3, MAX_WORDS = 16384, FAULT = 125 };

/** Ends this init, and with it the namespace, with one line on standard error. */
static inline _Noreturn void fault(const char *what) {
  dprintf(STDERR_FILENO, "init: %s: %s\n", what, strerror(errno));
  _exit(FAULT);
}

/** Sends one message with at most one descriptor. A peer that is gone ends the namespace. */
static inline void tell(const void *data, size_t length, int descriptor) {
  if (!send_message(CONTROL, data, length, descriptor)) fault("control socket");
}

static inline void tell_numbers(char kind, uint32_t first, uint32_t second, int descriptor) {
  unsigned char message[9] = {(unsigned char)kind};
  memcpy(message + 1, &first, 4);
  memcpy(message + 5, &second, 4);
  tell(message, sizeof message, descriptor);
}

static inline void tell_failure(uint32_t id, uint32_t code, const char *step) {
  if (!send_failure(CONTROL, id, (int)code, step, "")) fault("control socket");
}

/** Listens on 127.0.0.1:port of this network namespace and gives the socket away. */
static inline void offer_listener(uint16_t port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 256) != 0)
    fault("listener");
  unsigned char message[3] = {'L'};
  memcpy(message + 1, &port, 2);
  tell(message, sizeof message, fd);
  close(fd);
}

static inline void limit(int resource, const char *what, const char *value) {
  char *end;
  errno = 0;
  rlim_t bound = strtoull(value, &end, 10);
  if (errno != 0 || *end != '\0' || *value == '\0') {
    errno = EINVAL;
    fault(what);
  }
  struct rlimit both = {bound, bound};
  if (setrlimit(resource, &both) != 0) fault(what);
}

/** A program to start: views into the message it came in. */
struct request {
  uint32_t id;
  uint16_t cols, rows;
  char *cwd;
  char *argv[MAX_WORDS];
  char *env[MAX_WORDS];
};

/** Parses an `S` or `O` message in place; false when it is not one. `message[length]` must be writable. */
static inline bool parse_request(char *message, size_t length, struct request *out) {
  if (length < 10 || (message[0] != 'S' && message[0] != 'O') || message[length - 1] != '\0') return false;
  memcpy(&out->id, message + 1, 4);
  memcpy(&out->cols, message + 5, 2);
  memcpy(&out->rows, message + 7, 2);
  char *at = message + 9, *end = message + length;
  out->cwd = at;
  at += strlen(at) + 1;
  if (at >= end) return false;
  char *rest;
  unsigned long count = strtoul(at, &rest, 10);
  if (*rest != '\0' || count == 0 || count >= MAX_WORDS) return false;
  at += strlen(at) + 1;
  for (unsigned long i = 0; i < count; i++) {
    if (at >= end) return false;
    out->argv[i] = at;
    at += strlen(at) + 1;
  }
  out->argv[count] = NULL;
  size_t variables = 0;
  for (; at < end; at += strlen(at) + 1) {
    if (variables >= MAX_WORDS - 1) return false;
    out->env[variables++] = at;
  }
  out->env[variables] = NULL;
  return true;
}

/** In the child: says which step failed on the pipe that closes at exec, and ends. */
static inline _Noreturn void child_failed(int pipe_end, const char *step) {
  char message[40] = {0};
  int code = errno;
  memcpy(message, &code, sizeof code);
  strncpy(message + sizeof code, step, sizeof message - sizeof code - 1);
  if (write(pipe_end, message, sizeof message) < 0) _exit(FAULT);
  _exit(127);
}

/** In the child: default signals, nothing open but stdio and the failure pipe, the directory, the program. */
static inline _Noreturn void become(const struct request *request, int pipe_end) {
  sigset_t none;
  sigemptyset(&none);
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  sigprocmask(SIG_SETMASK, &none, NULL);
  if (dup2(pipe_end, CONTROL) != CONTROL || fcntl(CONTROL, F_SETFD, FD_CLOEXEC) != 0 ||
      syscall(SYS_close_range, CONTROL + 1, ~0U, 0) != 0)
    child_failed(pipe_end, "close_range");
  if (chdir(request->cwd) != 0) child_failed(CONTROL, "chdir");
  // The search for a bare name follows the PATH the program gets, not ours.
  clearenv();
  for (char *const *variable = request->env; *variable != NULL; variable++) putenv(*variable);
  execvpe(request->argv[0], request->argv, request->env);
  child_failed(CONTROL, "exec");
}

/** Waits until the child has become its program; false after `E` was told. Closes the pipe. */
static inline bool has_started(uint32_t id, int pipe_end) {
  char message[41] = {0};
  ssize_t got;
  do got = read(pipe_end, message, sizeof message - 1);
  while (got < 0 && errno == EINTR);
  close(pipe_end);
  if (got == 0) return true;
  int code = EIO;
  if (got > 0) memcpy(&code, message, sizeof code);
  tell_failure(id, (uint32_t)code, got > (ssize_t)sizeof code ? message + sizeof code : "start");
  return false;
}

/** The beginning of both: no ptrace and no core of this process, only stdio and the control socket, SIGCHLD as a descriptor. */
static inline int begin(void) {
  struct rlimit none = {0, 0};
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0) fault("hide");
  if (fcntl(CONTROL, F_SETFD, FD_CLOEXEC) != 0) fault("control socket");
  if (syscall(SYS_close_range, CONTROL + 1, ~0U, 0) != 0) fault("close_range");
  if (getpid() != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) fault("subreaper");
  sigset_t all;
  sigfillset(&all);
  if (sigprocmask(SIG_SETMASK, &all, NULL) != 0) fault("sigprocmask");
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  int fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) fault("signalfd");
  return fd;
}

/** Waits for a message or a dead child. Returns the length of a message in `buffer`, or 0 when children may have died. */
static inline size_t wait_for(int children, char *buffer, size_t size) {
  struct pollfd watched[2] = {{.fd = CONTROL, .events = POLLIN}, {.fd = children, .events = POLLIN}};
  while (poll(watched, 2, -1) < 0)
    if (errno != EINTR) fault("poll");
  if (watched[1].revents != 0) {
    struct signalfd_siginfo ignored;
    while (read(children, &ignored, sizeof ignored) > 0) continue;
    return 0;
  }
  ssize_t got;
  do got = recv(CONTROL, buffer, size, 0);
  while (got < 0 && errno == EINTR);
  // The peer is gone: nothing may outlive it.
  if (got <= 0) _exit(0);
  return (size_t)got;
}
#endif
