// tool-init: pid 1 of one tool call. Opens the boundary's listener in the call's network namespace and gives it away,
// waits for the one request, sets the limits, starts the tool on the pipes it was given, and reports its raw wait status.
// When the tool is reaped this process ends, and the kernel ends whatever else is left in the namespace.
//
//   tool-init [--listen PORT] [--processes N] [--file-bytes N] [--cpu-seconds N] [--open-files N]
#include "init.h"

static pid_t start(const struct request *request) {
  int failure[2];
  if (pipe2(failure, O_CLOEXEC) != 0) fault("pipe2");
  pid_t pid = fork();
  if (pid < 0) {
    tell_failure(request->id, (uint32_t)errno, "fork");
    _exit(FAULT);
  }
  if (pid == 0) {
    // A session of its own, without a terminal: nothing the tool does reaches this process by its group.
    if (setsid() < 0) child_failed(failure[1], "setsid");
    become(request, failure[1]);
  }
  close(failure[1]);
  // Only the tool holds its pipes, so that their ends are seen when it closes them.
  for (int fd = 0; fd < 3; fd++) close(fd);
  if (!has_started(request->id, failure[0])) _exit(FAULT);
  tell_numbers('P', request->id, (uint32_t)pid, -1);
  return pid;
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    int resource;
  } limits[] = {
      {"--processes", RLIMIT_NPROC}, {"--file-bytes", RLIMIT_FSIZE}, {"--cpu-seconds", RLIMIT_CPU}, {"--open-files", RLIMIT_NOFILE}};
  int children = begin();
  for (int i = 1; i + 1 < argc; i += 2) {
    bool known = strcmp(argv[i], "--listen") == 0;
    if (known) offer_listener((uint16_t)atoi(argv[i + 1]));
    for (size_t k = 0; k < sizeof limits / sizeof *limits; k++)
      if (strcmp(argv[i], limits[k].name) == 0) {
        limit(limits[k].resource, limits[k].name, argv[i + 1]);
        known = true;
      }
    if (!known) {
      errno = EINVAL;
      fault(argv[i]);
    }
  }
  tell("R", 1, -1);
  static char message[MAX_REQUEST + 1];
  static struct request request;
  pid_t tool = 0;
  for (;;) {
    size_t length = wait_for(children, message, MAX_REQUEST);
    if (length > 0) {
      if (tool != 0 || !parse_request(message, length, &request)) {
        errno = EPROTO;
        fault("control message");
      }
      tool = start(&request);
      continue;
    }
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
      if (pid == tool) {
        tell_numbers('X', request.id, (uint32_t)status, -1);
        _exit(0);
      }
  }
}
