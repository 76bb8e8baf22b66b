// host-uid: started by root only. Makes sure that no sandboxed process ever has the host's uid 0, without changing the owner
// of any file: in a private mount namespace, each given path is cloned with an id-mapping that shows its owner as a dedicated
// uid, then this process becomes that uid and runs the rest of the line. The clones lie at STAGE/0, STAGE/1, …
//
//   host-uid UID STAGE [rw PATH | ro PATH]... -- PROGRAM ARGUMENT...
//
// A file system without id-mapping is a failure for rw; for ro the plain tree is used, of which the uid sees what everyone may.
// Sources: mount_setattr(2), user_namespaces(7).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/mount.h>
#include "id-mapping.h"

enum { FAULT = 125, MAX_PATHS = 4096 };

static _Noreturn void fault(const char *step, const char *path) {
  dprintf(STDERR_FILENO, "host-uid: %s: %s: %s\n", step, path, strerror(errno));
  _exit(FAULT);
}

/** Clones the tree at `path` with the mapping of its owner. */
static int cloned(const char *path, bool writable, uint32_t dedicated, struct stat *info) {
  static int mapping = -1;
  static uid_t mapped_uid;
  static gid_t mapped_gid;
  if (stat(path, info) != 0) fault("stat", path);
  int tree = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (tree < 0) fault("open_tree", path);
  if (mapping < 0 || mapped_uid != info->st_uid || mapped_gid != info->st_gid) {
    if (mapping >= 0) close(mapping);
    const char *step;
    mapping = owner_mapping(info->st_uid, info->st_gid, dedicated, &step);
    if (mapping < 0) fault(step, path);
    mapped_uid = info->st_uid;
    mapped_gid = info->st_gid;
  }
  struct mount_attr attributes = {
      .attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (writable ? 0 : MOUNT_ATTR_RDONLY), .userns_fd = (uint64_t)mapping};
  if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0) return tree;
  if (writable) fault("id-mapped mount", path);
  attributes = (struct mount_attr){.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY};
  if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0) fault("mount_setattr", path);
  return tree;
}

int main(int argc, char **argv) {
  char *end;
  uint32_t dedicated = argc > 2 ? (uint32_t)strtoul(argv[1], &end, 10) : 0;
  if (dedicated < 65536 || *end != '\0') {
    errno = EINVAL;
    fault("uid", argc > 1 ? argv[1] : "(none)");
  }
  const char *stage = argv[2];
  // A clone keeps the mount flags of its source and later mounts must not come back to the host.
  if (unshare(CLONE_NEWNS) != 0) fault("unshare", "mount namespace");
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) fault("mount", "/");
  static int trees[MAX_PATHS];
  static struct stat infos[MAX_PATHS];
  int at = 3, count = 0;
  for (; at + 1 < argc && strcmp(argv[at], "--") != 0; at += 2, count++) {
    if (count == MAX_PATHS) fault("too many paths", argv[at + 1]);
    trees[count] = cloned(argv[at + 1], strcmp(argv[at], "rw") == 0, dedicated, &infos[count]);
  }
  if (at + 1 >= argc) {
    errno = EINVAL;
    fault("program", "(none)");
  }
  if (mount("tmpfs", stage, "tmpfs", MS_NOSUID | MS_NODEV, "size=16m,mode=0755") != 0) fault("mount", stage);
  for (int i = 0; i < count; i++) {
    char place[4096];
    snprintf(place, sizeof place, "%s/%d", stage, i);
    int made = S_ISDIR(infos[i].st_mode) ? mkdir(place, 0755) : open(place, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (made < 0) fault("create", place);
    if (!S_ISDIR(infos[i].st_mode)) close(made);
    if (syscall(SYS_move_mount, trees[i], "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) != 0) fault("move_mount", place);
    close(trees[i]);
  }
  struct rlimit none = {0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0) fault("setrlimit", "core");
  if (setgroups(0, NULL) != 0 || setresgid(dedicated, dedicated, dedicated) != 0 || setresuid(dedicated, dedicated, dedicated) != 0)
    fault("become", argv[1]);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fault("no_new_privs", "");
  if (chdir("/") != 0) fault("chdir", "/");
  execvp(argv[at + 1], argv + at + 1);
  fault("exec", argv[at + 1]);
}
