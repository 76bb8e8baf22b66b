// What the mounts of a tool's sandbox are made of: clones of host paths with their attributes, and templates, which are
// read-only roots built once and cloned for each sandbox. Everything here runs in tool-spawner, never in a sandbox.
// Sources: open_tree(2), mount_setattr(2), move_mount(2), openat2(2).
#ifndef AGENTKUBE_MOUNTS_H
#define AGENTKUBE_MOUNTS_H
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "id-mapping.h"
#include "message.h"

enum { MAX_TEMPLATE_BINDS = 768, MAX_OWNERS = 8 };
enum bind_flag { BIND_WRITABLE = 1, BIND_EXACT = 2, BIND_DEVICE = 4 };

/** What failed, for whoever asked. `path` views the request. */
struct failure {
  int code;
  const char *step, *path;
};

static inline bool fail(struct failure *out, const char *step, const char *path) {
  *out = (struct failure){.code = errno, .step = step, .path = path};
  return false;
}

/** A uid of the host that at most one living sandbox has, and the mappings of owners to it, made when first needed. */
struct dedicated {
  uint32_t uid;
  bool taken;
  int owners;
  struct {
    uid_t uid;
    gid_t gid;
    int mapping;
  } known[MAX_OWNERS];
};

static inline int mapping_for(struct dedicated *dedicated, const struct stat *info, const char **step) {
  for (int i = 0; i < dedicated->owners; i++)
    if (dedicated->known[i].uid == info->st_uid && dedicated->known[i].gid == info->st_gid) return dedicated->known[i].mapping;
  int at = dedicated->owners < MAX_OWNERS ? dedicated->owners : MAX_OWNERS - 1;
  int mapping = owner_mapping(info->st_uid, info->st_gid, dedicated->uid, step);
  if (mapping < 0) return -1;
  if (at < dedicated->owners) close(dedicated->known[at].mapping);
  else dedicated->owners++;
  dedicated->known[at].uid = info->st_uid;
  dedicated->known[at].gid = info->st_gid;
  dedicated->known[at].mapping = mapping;
  return mapping;
}

/**
 * A clone of the mount at `path`, private, nosuid, nodev, read-only unless asked otherwise. As root with the mapping of its owner
 * to `dedicated` (NULL: without); a file system that cannot do that is refused when it is to be written to.
 */
static inline int clone_of(const char *path, int flags, struct dedicated *dedicated, struct failure *why) {
  struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = (flags & BIND_EXACT) != 0 ? RESOLVE_NO_SYMLINKS : 0};
  int source = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
  if (source < 0) return fail(why, "open", path), -1;
  // Below a mapping each mount is looked at by itself; without one, what is mounted below is part of what the user sees.
  unsigned deep = dedicated == NULL ? AT_RECURSIVE : 0;
  struct stat info;
  int tree = -1;
  if (fstat(source, &info) != 0) fail(why, "stat", path);
  else {
    tree = (int)syscall(SYS_open_tree, source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | deep);
    if (tree < 0) fail(why, "open_tree", path);
  }
  close(source);
  if (tree < 0) return -1;
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_NOSUID | ((flags & BIND_DEVICE) != 0 ? 0 : MOUNT_ATTR_NODEV) |
                                              ((flags & (BIND_WRITABLE | BIND_DEVICE)) != 0 ? 0 : MOUNT_ATTR_RDONLY),
                                  .propagation = MS_PRIVATE};
  if (dedicated != NULL) {
    const char *step = "id-mapped mount";
    int mapping = mapping_for(dedicated, &info, &step);
    struct mount_attr mapped = attributes;
    mapped.attr_set |= MOUNT_ATTR_IDMAP;
    mapped.userns_fd = (uint64_t)mapping;
    if (mapping >= 0 && syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &mapped, sizeof mapped) == 0) return tree;
    if (mapping < 0 || (flags & BIND_WRITABLE) != 0) {
      fail(why, step, path);
      close(tree);
      return -1;
    }
  }
  if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | deep, &attributes, sizeof attributes) == 0) return tree;
  fail(why, "mount_setattr", path);
  close(tree);
  return -1;
}

/** Makes the directories above the last part of `path`, which begins with "/", below an opened directory. */
static inline bool make_parents(int root, const char *path, mode_t mode) {
  char part[4096];
  size_t length = strlen(path);
  if (path[0] != '/' || length >= sizeof part) {
    errno = path[0] != '/' ? EINVAL : ENAMETOOLONG;
    return false;
  }
  memcpy(part, path + 1, length);
  for (char *slash = strchr(part, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    if (mkdirat(root, part, mode) != 0 && errno != EEXIST) return false;
    *slash = '/';
  }
  return true;
}

static inline bool make_file(int root, const char *path, mode_t mode, const char *data, size_t length) {
  int fd = openat(root, path + 1, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return false;
  bool made = true;
  for (size_t done = 0; made && done < length;) {
    ssize_t wrote = write(fd, data + done, length - done);
    if (wrote > 0) done += (size_t)wrote;
    else made = errno == EINTR;
  }
  made = made && fchmod(fd, mode) == 0;
  int code = errno;
  close(fd);
  errno = code;
  return made;
}

/** A place to mount on: a directory or an empty file, whichever the source is. */
static inline bool make_place(int root, const char *path, bool directory) {
  if (directory) return mkdirat(root, path + 1, 0755) == 0 || errno == EEXIST;
  if (make_file(root, path, 0444, NULL, 0)) return true;
  return errno == EEXIST;
}

static inline bool is_directory(int fd) {
  struct stat info;
  return fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);
}

/**
 * Fills the new tmpfs `root` from a template's text: `d` directory, `p` empty file, `l` link, `f` file, `b` bind (its clone comes
 * from `clones`, in order). All of it is ours; nothing in it was chosen by a tool.
 */
static inline bool fill_template(int root, struct cursor from, const int *clones, struct failure *why) {
  for (int next = 0; from.at < from.end && !from.bad;) {
    char kind = (char)read_u8(&from);
    unsigned flags = kind == 'f' ? read_u16(&from) : kind == 'b' ? read_u8(&from) : 0;
    const char *source = kind == 'b' || kind == 'l' ? read_text(&from) : "";
    const char *path = read_text(&from);
    uint32_t length = kind == 'f' ? read_u32(&from) : 0;
    const char *data = from.at;
    if (from.bad || (size_t)(from.end - from.at) < length) break;
    from.at += length;
    if (!make_parents(root, path, 0755)) return fail(why, "mkdir", path);
    if (kind == 'd' && !make_place(root, path, true)) return fail(why, "mkdir", path);
    if (kind == 'p' && !make_place(root, path, false)) return fail(why, "create", path);
    if (kind == 'l' && symlinkat(source, root, path + 1) != 0) return fail(why, "symlink", path);
    if (kind == 'f' && !make_file(root, path, flags & 0777, data, length)) return fail(why, "create", path);
    if (kind == 'b') {
      if (!make_place(root, path, is_directory(clones[next]))) return fail(why, "create", path);
      if (syscall(SYS_move_mount, clones[next++], "", root, path + 1, MOVE_MOUNT_F_EMPTY_PATH) != 0)
        return fail(why, "move_mount", path);
    }
  }
  errno = EPROTO;
  return from.at == from.end && !from.bad ? true : fail(why, "template", "");
}

/** Clones every bind of a template's text; the number of clones, or -1. Runs where the host's paths are. */
static inline int clone_template_binds(struct cursor from, int *clones, struct failure *why) {
  int count = 0;
  while (from.at < from.end && !from.bad) {
    char kind = (char)read_u8(&from);
    unsigned flags = kind == 'f' ? read_u16(&from) : kind == 'b' ? read_u8(&from) : 0;
    const char *source = kind == 'b' || kind == 'l' ? read_text(&from) : "";
    read_text(&from);
    uint32_t length = kind == 'f' ? read_u32(&from) : 0;
    if (from.bad || (size_t)(from.end - from.at) < length) break;
    from.at += length;
    if (kind != 'b') continue;
    errno = E2BIG;
    if (count == MAX_TEMPLATE_BINDS) fail(why, "too many entries", source);
    else clones[count] = clone_of(source, (int)flags, NULL, why);
    if (count == MAX_TEMPLATE_BINDS || clones[count] < 0) {
      while (count > 0) close(clones[--count]);
      return -1;
    }
    count++;
  }
  return count;
}
#endif
