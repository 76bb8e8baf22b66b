// report: what the hooks of an agent CLI run in zone A. Hands the hook's JSON (standard input) to the agentlet, as one line on
// the report socket, and waits until it is read, so that reports arrive in the order of the hooks.
// Always silent and always exits with 0: a hook that speaks or fails would change what the CLI does.
//
//   report hook NAME [--follow NEEDLE]     {"channel":"hook","name":NAME,"data":…}
//
// With --follow the hook's "transcript_path" is followed from its present end, by a process of its own that ends with the
// agentlet: each new line that contains NEEDLE is handed on as {"channel":"transcript","name":NAME,"data":…}.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_PATH "/opt/agentkube/report.sock"
/** A longer document is named and left out. The agentlet refuses longer lines. */
#define MAX_DOCUMENT (192 * 1024)
/** No hook may hold the CLI for longer, whatever the agentlet does. */
#define PATIENCE_S 2

static char document[MAX_DOCUMENT];

/** A connection to the agentlet; -1 when there is none. */
static int dial(void) {
  int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (sock < 0) return -1;
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET_PATH};
  struct timeval patience = {.tv_sec = PATIENCE_S};
  setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(sock, (struct sockaddr *)&address, sizeof address) == 0) return sock;
  close(sock);
  return -1;
}

static bool send_all(int sock, const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t sent = send(sock, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes += sent;
    length -= (size_t)sent;
  }
  return true;
}

/** One line. `data` is JSON without line breaks, or null. */
static bool report(int sock, const char *channel, const char *name, const char *data, size_t length) {
  char head[256];
  int size = snprintf(head, sizeof head, "{\"channel\":\"%s\",\"name\":\"%s\",\"data\":", channel, name);
  if (size < 0 || (size_t)size >= sizeof head) return false;
  return send_all(sock, head, (size_t)size) && send_all(sock, length > 0 ? data : "null", length > 0 ? length : 4) &&
         send_all(sock, "}\n", 2);
}

/** All of standard input is read, so that its writer never meets a closed pipe; too much of it is no document. */
static size_t read_document(void) {
  static char rest[16 * 1024];
  size_t length = 0;
  bool whole = true;
  for (;;) {
    bool room = length < sizeof document;
    ssize_t got = read(0, room ? document + length : rest, room ? sizeof document - length : sizeof rest);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    if (room) length += (size_t)got;
    else whole = false;
  }
  if (!whole) return 0;
  // Between the words of a JSON document a line break is a space; inside a string there is none.
  for (size_t i = 0; i < length; i++)
    if (document[i] == '\n' || document[i] == '\r') document[i] = ' ';
  return length;
}

/** The value of "transcript_path" as it is written; false when there is none, or one with an escape. */
static bool transcript_path(size_t length, char *path, size_t size) {
  static const char field[] = "\"transcript_path\"";
  const char *at = memmem(document, length, field, sizeof field - 1);
  const char *end = document + length;
  if (at == NULL) return false;
  at += sizeof field - 1;
  while (at < end && (*at == ' ' || *at == ':')) at++;
  if (at == end || *at != '"') return false;
  at++;
  const char *close = memchr(at, '"', (size_t)(end - at));
  if (close == NULL || (size_t)(close - at) >= size || memchr(at, '\\', (size_t)(close - at)) != NULL) return false;
  memcpy(path, at, (size_t)(close - at));
  path[close - at] = '\0';
  return path[0] == '/';
}

/** Hands on what the file says from now on, until the agentlet is gone. */
static void follow(const char *path, const char *name, const char *needle) {
  int file = -1;
  // The CLI makes the file with its first entry.
  for (int tries = 0; file < 0 && tries < 600; tries++) {
    file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) usleep(100 * 1000);
    else if (tries == 0) lseek(file, 0, SEEK_END);
  }
  // One follower for a file, however often a session starts.
  if (file < 0 || flock(file, LOCK_EX | LOCK_NB) != 0) return;
  int changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  int sock = dial();
  if (sock < 0 || changes < 0 || inotify_add_watch(changes, path, IN_MODIFY) < 0) return;
  static char line[MAX_DOCUMENT], chunk[64 * 1024], events[4096];
  size_t length = 0;
  bool overlong = false;
  for (;;) {
    ssize_t got;
    while ((got = read(file, chunk, sizeof chunk)) > 0)
      for (ssize_t i = 0; i < got; i++) {
        if (chunk[i] == '\n') {
          if (!overlong && length > 0 && memmem(line, length, needle, strlen(needle)) != NULL &&
              !report(sock, "transcript", name, line, length))
            return;
          length = 0;
          overlong = false;
        } else if (length < sizeof line) {
          line[length++] = chunk[i];
        } else {
          overlong = true;
        }
      }
    struct pollfd waits[2] = {{.fd = changes, .events = POLLIN}, {.fd = sock, .events = POLLRDHUP}};
    if (poll(waits, 2, -1) < 0 && errno != EINTR) return;
    if (waits[1].revents != 0) return;
    while (read(changes, events, sizeof events) > 0);
  }
}

static void follow_apart(size_t length, const char *name, const char *needle) {
  char path[4096];
  if (!transcript_path(length, path, sizeof path) || fork() != 0) return;
  setsid();
  if (fork() != 0) _exit(0);
  // The CLI waits for the ends of its hook's pipes, and its terminal must not be held.
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; fd++) dup2(null, fd);
  if (chdir("/") != 0) _exit(0);
  follow(path, name, needle);
  _exit(0);
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  if (argc < 3 || strcmp(argv[1], "hook") != 0) return 0;
  const char *name = argv[2];
  if (name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_.")] != '\0') return 0;
  size_t length = read_document();
  int sock = dial();
  if (sock < 0) return 0;
  if (report(sock, "hook", name, document, length)) {
    shutdown(sock, SHUT_WR);
    char end;
    while (recv(sock, &end, 1, 0) > 0);
  }
  close(sock);
  if (argc == 5 && strcmp(argv[3], "--follow") == 0) follow_apart(length, name, argv[4]);
  return 0;
}
