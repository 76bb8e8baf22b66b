// pod-zone: fences zone A where the container is the zone, then becomes zone-init. What runs behind the fence may signal and trace only
// what runs behind it too, connect only to abstract sockets made there, and open nothing beneath the hidden directories.
//
//   pod-zone [--hide DIRECTORY]... -- PROGRAM [ARGUMENT]...
//
// Landlock has allow lists only: every directory on the way to a hidden one is listed, and each of its entries but that one is allowed.
// What is made later in such a directory itself (/, /var, …) is not: in a container its root is read-only. Ends with 78 when the kernel
// lacks Landlock's scopes (ABI 6, Linux 6.12). Numbers are those of linux/landlock.h, which may be older than the kernel.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_HIDDEN = 8, CANNOT_FENCE = 78, SCOPES_ABI = 6, IOCTL_ABI = 5 };
/** execute, write, read, list, remove, make of each kind, refer, truncate; from ABI 5 on ioctl of devices as well. */
#define FILES ((1ULL << 15) - 1)
#define DEVICE_IOCTL (1ULL << 15)
/** What makes sense for a file: execute, write, read, truncate, ioctl. */
#define OF_A_FILE (1ULL << 0 | 1ULL << 1 | 1ULL << 2 | 1ULL << 14 | DEVICE_IOCTL)

static char hidden[MAX_HIDDEN][PATH_MAX];
static int hidden_count, ruleset;

static _Noreturn void fault(const char *what) {
  dprintf(STDERR_FILENO, "pod-zone: %s: %s\n", what, strerror(errno));
  _exit(1);
}

static void allow(const char *path) {
  struct {
    uint64_t access;
    int32_t parent;
  } __attribute__((packed)) rule = {.access = FILES | DEVICE_IOCTL};
  struct stat facts;
  int fd = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
  // A link is judged by where it leads; an entry may be gone by now.
  if (fd < 0 || fstat(fd, &facts) != 0 || S_ISLNK(facts.st_mode)) {
    if (fd >= 0) close(fd);
    return;
  }
  if (!S_ISDIR(facts.st_mode)) rule.access &= OF_A_FILE;
  rule.parent = fd;
  if (syscall(SYS_landlock_add_rule, ruleset, 1, &rule, 0) != 0) fault(path);
  close(fd);
}

static bool is_hidden(const char *path) {
  for (int i = 0; i < hidden_count; i++)
    if (strcmp(path, hidden[i]) == 0) return true;
  return false;
}

/** True when a hidden directory lies beneath. */
static bool leads_to_hidden(const char *path) {
  size_t length = strcmp(path, "/") == 0 ? 0 : strlen(path);
  for (int i = 0; i < hidden_count; i++)
    if (strncmp(path, hidden[i], length) == 0 && hidden[i][length] == '/') return true;
  return false;
}

static void allow_beneath(const char *path) {
  DIR *list = opendir(path);
  if (list == NULL) fault(path);
  for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    char child[PATH_MAX];
    int length = snprintf(child, sizeof child, "%s/%s", strcmp(path, "/") == 0 ? "" : path, entry->d_name);
    if (length < 0 || (size_t)length >= sizeof child) continue;
    if (is_hidden(child)) continue;
    if (leads_to_hidden(child)) allow_beneath(child);
    else allow(child);
  }
  closedir(list);
}

int main(int argc, char **argv) {
  int at = 1;
  for (; at + 1 < argc && strcmp(argv[at], "--hide") == 0; at += 2) {
    if (hidden_count == MAX_HIDDEN) fault("too many hidden directories");
    // A mount may be named by a link to it (/var/run).
    if (realpath(argv[at + 1], hidden[hidden_count++]) == NULL) fault(argv[at + 1]);
  }
  if (at + 1 >= argc || strcmp(argv[at], "--") != 0) {
    dprintf(STDERR_FILENO, "pod-zone: expected [--hide DIRECTORY]... -- PROGRAM [ARGUMENT]...\n");
    return 2;
  }
  long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
  if (abi < SCOPES_ABI) return CANNOT_FENCE;
  struct {
    uint64_t files, network, scoped;
  } rules = {.files = FILES | DEVICE_IOCTL, .scoped = 3};
  ruleset = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
  if (ruleset < 0) fault("ruleset");
  if (hidden_count > 0) allow_beneath("/");
  else allow("/");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) fault("restrict");
  close(ruleset);
  execv(argv[at + 1], argv + at + 1);
  fault(argv[at + 1]);
}
