// Messages between the tool-runner, tool-spawner and the inits it starts: a packet of bytes and a few descriptors, read by a
// cursor that never leaves the packet. Integers are little endian, texts end with NUL. docs/architecture.md lists the messages.
#ifndef AGENTKUBE_MESSAGE_H
#define AGENTKUBE_MESSAGE_H
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_MESSAGE = 192 * 1024, MAX_DESCRIPTORS = 8 };

struct descriptors {
  int count;
  int list[MAX_DESCRIPTORS];
};

static inline void close_descriptors(struct descriptors *all) {
  for (int i = 0; i < all->count; i++)
    if (all->list[i] >= 0) close(all->list[i]);
  all->count = 0;
}

/** Takes a descriptor out of the list: the caller owns it. -1 when there is none. */
static inline int take_descriptor(struct descriptors *all, int index) {
  if (index >= all->count) return -1;
  int fd = all->list[index];
  all->list[index] = -1;
  return fd;
}

/** One message; its length, 0 when the peer is gone, -1 with errno set. A cut message is the end of the peer, too. */
static inline ssize_t receive_message(int socket, char *bytes, size_t size, struct descriptors *with, int flags) {
  union {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(int) * MAX_DESCRIPTORS)];
  } control;
  struct iovec part = {.iov_base = bytes, .iov_len = size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  with->count = 0;
  ssize_t got;
  do got = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  if (got < 0) return got;
  for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head != NULL; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count && with->count < MAX_DESCRIPTORS; i++)
      memcpy(&with->list[with->count++], CMSG_DATA(head) + i * sizeof(int), sizeof(int));
  }
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    close_descriptors(with);
    return 0;
  }
  return got;
}

/** Sends one message with `count` descriptors, at most MAX_DESCRIPTORS; false with errno set. */
static inline bool send_with(int socket, const void *data, size_t length, const int *descriptors, int count) {
  union {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(int) * MAX_DESCRIPTORS)];
  } control = {0};
  struct iovec part = {.iov_base = (void *)data, .iov_len = length};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  size_t bytes = (size_t)count * sizeof(int);
  if (count > 0) {
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(bytes);
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(head), descriptors, bytes);
  }
  while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
    if (errno != EINTR) return false;
  return true;
}

/** The same with one descriptor, or none for -1. */
static inline bool send_message(int socket, const void *data, size_t length, int descriptor) {
  return send_with(socket, data, length, &descriptor, descriptor >= 0 ? 1 : 0);
}

/** Sends `E`: what failed and why, about a sandbox or a template. */
static inline bool send_failure(int socket, uint32_t about, int code, const char *step, const char *path) {
  char message[640] = {'E'};
  uint32_t number = (uint32_t)code;
  size_t length = strnlen(step, 64), more = strnlen(path, 500);
  memcpy(message + 1, &about, 4);
  memcpy(message + 5, &number, 4);
  memcpy(message + 9, step, length);
  message[9 + length] = '\0';
  memcpy(message + 10 + length, path, more);
  return send_message(socket, message, 10 + length + more, -1);
}

struct cursor {
  const char *at, *end;
  bool bad;
};

static inline void read_bytes(struct cursor *from, void *to, size_t count) {
  memset(to, 0, count);
  if (from->bad || (size_t)(from->end - from->at) < count) {
    from->bad = true;
    return;
  }
  memcpy(to, from->at, count);
  from->at += count;
}

#define READ_NUMBER(name, type)                    \
  static inline type name(struct cursor *from) {   \
    type number;                                   \
    read_bytes(from, &number, sizeof number);      \
    return number;                                 \
  }
READ_NUMBER(read_u8, uint8_t)
READ_NUMBER(read_u16, uint16_t)
READ_NUMBER(read_u32, uint32_t)
READ_NUMBER(read_u64, uint64_t)

/** A text inside the message; "" once the message is bad. */
static inline const char *read_text(struct cursor *from) {
  const char *text = from->at, *end = from->bad ? NULL : memchr(from->at, 0, (size_t)(from->end - from->at));
  if (end == NULL) {
    from->bad = true;
    return "";
  }
  from->at = end + 1;
  return text;
}
#endif
