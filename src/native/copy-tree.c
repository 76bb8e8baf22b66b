// copy-tree: copies the root file system of the image it runs in to a directory, once, before a tool-runner starts. It is the one
// program of ours that runs in a tool's image: static, no library, no shell, no privilege.
//
//   copy-tree FROM TO
//
// TO, and the directory it lies in when that is not there, are made. TO gets its name when all of it is there; one that is there already
// is left as it is: a container that was started again finds what the one before did, or makes it anew.
//
// Directories, files and symbolic links, with their permission bits but without 06000; one file system only, so that /proc, /sys, /dev
// and TO itself stay out. Devices, sockets and pipes are left out. What this user may not read is counted and said, not an error: an
// image keeps a few such files (/etc/shadow), and no tool runs as their owner.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 128 };

static dev_t device;
static unsigned long long files, bytes, unreadable;

static _Noreturn void fault(const char *name) {
  dprintf(STDERR_FILENO, "copy-tree: %s: %s\n", name, strerror(errno));
  exit(1);
}

static void copy_file(int from, int to, const char *name, mode_t mode) {
  int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (in < 0 && (errno == EACCES || errno == EPERM)) {
    unreadable++;
    return;
  }
  int out = in < 0 ? -1 : openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (out < 0) fault(name);
  static char buffer[256 * 1024];
  ssize_t got;
  while ((got = read(in, buffer, sizeof buffer)) > 0) {
    for (ssize_t done = 0; done < got;) {
      ssize_t put = write(out, buffer + done, (size_t)(got - done));
      if (put < 0) fault(name);
      done += put;
    }
    bytes += (unsigned long long)got;
  }
  if (got < 0 || fchmod(out, mode & 0777) != 0 || close(out) != 0) fault(name);
  close(in);
  files++;
}

static void copy_link(int from, int to, const char *name) {
  char target[4096];
  ssize_t length = readlinkat(from, name, target, sizeof target - 1);
  if (length < 0) fault(name);
  target[length] = '\0';
  if (symlinkat(target, to, name) != 0) fault(name);
}

static void copy_directory(int from, int to, int depth) {
  if (depth > MAX_DEPTH) {
    errno = ELOOP;
    fault("too many directories in each other");
  }
  DIR *list = fdopendir(from);
  if (list == NULL) fault("directory");
  struct dirent *entry;
  while (errno = 0, (entry = readdir(list)) != NULL) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
    struct stat facts;
    if (fstatat(from, name, &facts, AT_SYMLINK_NOFOLLOW) != 0) fault(name);
    if (S_ISREG(facts.st_mode)) copy_file(from, to, name, facts.st_mode);
    if (S_ISLNK(facts.st_mode)) copy_link(from, to, name);
    if (!S_ISDIR(facts.st_mode)) continue;
    if (mkdirat(to, name, 0700) != 0) fault(name);
    int inner = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    // A mount point stays as an empty directory.
    if (inner >= 0 && facts.st_dev == device) {
      int target = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (target < 0) fault(name);
      copy_directory(inner, target, depth + 1);
      close(target);
    } else if (inner >= 0) {
      close(inner);
    } else if (errno == EACCES || errno == EPERM) {
      unreadable++;
    } else {
      fault(name);
    }
    if (fchmodat(to, name, (facts.st_mode & 0777) | 0500, 0) != 0) fault(name);
  }
  if (errno != 0) fault("directory");
  closedir(list);
}

static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *where) {
  (void)facts;
  (void)where;
  if (kind == FTW_D || kind == FTW_DNR) return chmod(path, 0700);
  return kind == FTW_DP ? rmdir(path) : unlink(path);
}

/** What a predecessor left half done; its directories may refuse to be emptied, so they are opened first. */
static void remove_tree(const char *path) {
  if (nftw(path, remove_entry, 16, FTW_PHYS) != 0 && errno != ENOENT && errno != ENOTEMPTY) fault(path);
  if (nftw(path, remove_entry, 16, FTW_PHYS | FTW_DEPTH) != 0 && errno != ENOENT) fault(path);
}

int main(int argc, char **argv) {
  struct stat facts;
  char draft[PATH_MAX], parent[PATH_MAX];
  if (argc != 3 || (size_t)snprintf(draft, sizeof draft, "%s.part", argv[2]) >= sizeof draft) {
    dprintf(STDERR_FILENO, "copy-tree: expected FROM TO\n");
    return 2;
  }
  if (stat(argv[2], &facts) == 0) {
    printf("copy-tree: %s is there already\n", argv[2]);
    return 0;
  }
  int from = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (from < 0 || fstat(from, &facts) != 0) fault(argv[1]);
  device = facts.st_dev;
  strcpy(parent, argv[2]);
  if (mkdir(dirname(parent), 0755) != 0 && errno != EEXIST) fault(argv[2]);
  remove_tree(draft);
  if (mkdir(draft, 0700) != 0) fault(draft);
  int to = open(draft, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (to < 0) fault(draft);
  copy_directory(from, to, 0);
  if (fchmod(to, 0755) != 0 || rename(draft, argv[2]) != 0) fault(argv[2]);
  printf("copy-tree: %llu files, %llu bytes; %llu not readable, left out\n", files, bytes, unreadable);
  return 0;
}
