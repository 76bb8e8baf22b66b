// User namespaces that exist only to say how the owner of a directory is shown: the owner becomes a dedicated uid, every
// other id stays what it is. Kept alive by a descriptor alone. Shared by host-uid and tool-spawner; both run as root here.
// Sources: mount_setattr(2), user_namespaces(7).
#ifndef AGENTKUBE_ID_MAPPING_H
#define AGENTKUBE_ID_MAPPING_H
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/** Writes a whole small file below /proc; false with errno set when the kernel refuses. */
static inline bool write_proc(pid_t pid, const char *name, const char *text, size_t length) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t wrote = write(fd, text, length);
  int code = errno;
  close(fd);
  errno = wrote < 0 ? code : EIO;
  return wrote == (ssize_t)length;
}

static inline bool write_owner_map(pid_t pid, const char *name, uint32_t owner, uint32_t dedicated) {
  char map[160];
  int length = 0;
  // Every id below the dedicated one but the owner stays what it is, so that foreign files stay foreign.
  if (owner > 0) length += snprintf(map + length, sizeof map - (size_t)length, "0 0 %u\n", owner);
  length += snprintf(map + length, sizeof map - (size_t)length, "%u %u 1\n", owner, dedicated);
  if (owner + 1 < dedicated)
    length += snprintf(map + length, sizeof map - (size_t)length, "%u %u %u\n", owner + 1, owner + 1, dedicated - owner - 1);
  return write_proc(pid, name, map, (size_t)length);
}

/** A user namespace that maps `uid`:`gid` to the dedicated id, as a descriptor; -1 with errno set and `*step` named. */
static inline int owner_mapping(uid_t uid, gid_t gid, uint32_t dedicated, const char **step) {
  int ready[2], hold[2];
  char byte = 0, path[64];
  *step = "pipe2";
  if (pipe2(ready, O_CLOEXEC) != 0) return -1;
  if (pipe2(hold, O_CLOEXEC) != 0) {
    close(ready[0]);
    close(ready[1]);
    return -1;
  }
  *step = "fork";
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(hold[1]);
    byte = unshare(CLONE_NEWUSER) == 0 ? 'y' : 'n';
    if (write(ready[1], &byte, 1) == 1 && read(hold[0], &byte, 1) < 0) _exit(1);
    _exit(0);
  }
  close(hold[0]);
  close(ready[1]);
  int fd = -1;
  if (child > 0) {
    *step = "user namespace for id-mapping";
    errno = EPERM;
    if (read(ready[0], &byte, 1) == 1 && byte == 'y' && write_owner_map(child, "uid_map", uid, dedicated) &&
        write_owner_map(child, "gid_map", gid, dedicated)) {
      snprintf(path, sizeof path, "/proc/%d/ns/user", (int)child);
      fd = open(path, O_RDONLY | O_CLOEXEC);
    }
  }
  int code = errno;
  close(ready[0]);
  close(hold[1]);
  if (child > 0)
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
  errno = code;
  return fd;
}
#endif
