// What tool-spawner is asked for: one sandbox. Views into the message it came in, which its child inherits.
#ifndef AGENTKUBE_SANDBOX_ORDER_H
#define AGENTKUBE_SANDBOX_ORDER_H
#include <linux/filter.h>
#include "message.h"

enum { MAX_TMPFS = 16, MAX_PORTS = 8 };

/** Who the processes of every sandbox are inside. */
struct inside {
  uint32_t uid, gid;
};

struct order {
  uint32_t slot;
  /** nothing will be mounted for its call, so it gives up its rights while it waits */
  bool complete;
  const char *hostname;
  int ports, places;
  uint16_t port[MAX_PORTS];
  struct {
    uint64_t bytes;
    uint32_t inodes;
    uint16_t mode;
    const char *path;
  } tmpfs[MAX_TMPFS];
};

/** The two layers of system call filters: of pid 1 and all after it, and of the tool alone. */
struct filters {
  struct sock_fprog whole, tool;
};

/** Reads the part of an `N` message that follows its id; the binds come after it. False when it is not one. */
static inline bool read_order(struct cursor *from, struct order *out) {
  out->slot = read_u32(from);
  out->complete = read_u8(from) != 0;
  out->hostname = read_text(from);
  out->ports = read_u8(from);
  if (out->ports > MAX_PORTS) return false;
  for (int i = 0; i < out->ports; i++) out->port[i] = read_u16(from);
  out->places = read_u8(from);
  if (out->places > MAX_TMPFS) return false;
  for (int i = 0; i < out->places; i++) {
    out->tmpfs[i].bytes = read_u64(from);
    out->tmpfs[i].inodes = read_u32(from);
    out->tmpfs[i].mode = read_u16(from);
    out->tmpfs[i].path = read_text(from);
  }
  return !from->bad;
}
#endif
