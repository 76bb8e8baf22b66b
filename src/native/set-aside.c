// set-aside: the first program in a container of somebody else's image. What that image sets for its own programs (NODE_OPTIONS,
// LD_PRELOAD, SSL_CERT_FILE, …) would be taken by ours, which hold the run's token: so it is put out of their sight, under names
// that begin with AGENTKUBE_ASIDE_, and given back to the CLI alone. Static, so that nothing of the image runs before it.
//
//   set-aside [NAME=VALUE]... PROGRAM [ARGUMENT]...
//
// PROGRAM gets what is named, AGENTKUBE_ASIDE=1, and of its own environment what is the pod's (AGENTKUBE_, KUBERNETES_), PATH, HOME and
// HOSTNAME. Ends with 127 when it cannot be started.
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { USAGE = 2, CANNOT_START = 127 };
#define MARK "AGENTKUBE_ASIDE"

static _Noreturn void fault(const char *what) {
  dprintf(STDERR_FILENO, "set-aside: %s: %s\n", what, strerror(errno));
  _exit(CANNOT_START);
}

static bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

static bool stays(const char *variable) {
  static const char *const kept[] = {"AGENTKUBE_", "KUBERNETES_", "PATH=", "HOME=", "HOSTNAME="};
  // The image may not say what was put aside.
  if (begins(variable, MARK)) return false;
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
    if (begins(variable, kept[i])) return true;
  return false;
}

int main(int argc, char **argv, char **environment) {
  int program = 1;
  while (program < argc && strchr(argv[program], '=') != NULL) program++;
  if (program >= argc) {
    dprintf(STDERR_FILENO, "set-aside: expected [NAME=VALUE]... PROGRAM [ARGUMENT]...\n");
    return USAGE;
  }
  size_t count = 0;
  while (environment[count] != NULL) count++;
  char **ours = calloc(count + (size_t)program + 1, sizeof *ours);
  if (ours == NULL) fault("environment");
  size_t at = 0;
  ours[at++] = MARK "=1";
  for (int i = 1; i < program; i++) ours[at++] = argv[i];
  for (size_t i = 0; i < count; i++, at++)
    if (stays(environment[i])) ours[at] = environment[i];
    else if (asprintf(&ours[at], MARK "_%s", environment[i]) < 0) fault("environment");
  execve(argv[program], argv + program, ours);
  fault(argv[program]);
}
