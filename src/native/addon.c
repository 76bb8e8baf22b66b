// The Node addon: the system calls that Node has no door to. No policy here; src/kit/native.ts documents each function.
// Built against Node-API and the libuv header that Node carries; only uv_poll is used of libuv.
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include <errno.h>
#include <fcntl.h>
#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>
#include <uv.h>

#define MAX_MESSAGE 65536
#define MAX_DESCRIPTORS 8

static const char *errno_name(int code) {
  const char *name = strerrorname_np(code);
  return name == NULL ? "EUNKNOWN" : name;
}

static napi_value throw_errno(napi_env env, const char *call, int code) {
  char message[128];
  snprintf(message, sizeof message, "%s failed: %s", call, strerror(code));
  napi_throw_error(env, errno_name(code), message);
  return NULL;
}

/** Reads the arguments of a call; false after a TypeError was thrown. */
static bool arguments(napi_env env, napi_callback_info info, size_t wanted, napi_value *values, napi_value *self) {
  size_t count = wanted;
  napi_get_cb_info(env, info, &count, values, self, NULL);
  if (count >= wanted) return true;
  napi_throw_type_error(env, NULL, "Too few arguments");
  return false;
}

static bool as_int(napi_env env, napi_value value, int *out) {
  if (napi_get_value_int32(env, value, out) == napi_ok) return true;
  napi_throw_type_error(env, NULL, "Expected an integer");
  return false;
}

static bool as_buffer(napi_env env, napi_value value, uint8_t **data, size_t *length) {
  if (napi_get_buffer_info(env, value, (void **)data, length) == napi_ok) return true;
  napi_throw_type_error(env, NULL, "Expected a Buffer");
  return false;
}

static napi_value int_value(napi_env env, int64_t number) {
  napi_value value;
  napi_create_int64(env, number, &value);
  return value;
}

static void set_bool(napi_env env, napi_value object, const char *name, bool flag) {
  napi_value value;
  napi_get_boolean(env, flag, &value);
  napi_set_named_property(env, object, name, value);
}

// ---- messages with descriptors ----

static napi_value socket_pair(napi_env env, napi_callback_info info) {
  (void)info;
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return throw_errno(env, "socketpair", errno);
  napi_value pair;
  napi_create_array_with_length(env, 2, &pair);
  for (uint32_t i = 0; i < 2; i++) napi_set_element(env, pair, i, int_value(env, ends[i]));
  return pair;
}

static napi_value new_pipe(napi_env env, napi_callback_info info) {
  (void)info;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return throw_errno(env, "pipe2", errno);
  napi_value pair;
  napi_create_array_with_length(env, 2, &pair);
  for (uint32_t i = 0; i < 2; i++) napi_set_element(env, pair, i, int_value(env, ends[i]));
  return pair;
}

static napi_value receive(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  if (!arguments(env, info, 1, argv, NULL) || !as_int(env, argv[0], &fd)) return NULL;
  uint8_t bytes[MAX_MESSAGE];
  union {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(int) * MAX_DESCRIPTORS)];
  } control;
  struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t got;
  // A peer that is gone with something of ours unread is told once, before what it had said itself: that is read all the same.
  do got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (got < 0 && (errno == EINTR || errno == ECONNRESET));
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    napi_value none;
    napi_get_null(env, &none);
    return none;
  }
  if (got < 0) return throw_errno(env, "recvmsg", errno);
  // Half a message, or descriptors that found no room: not the peer that we started, so it is as good as gone.
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head != NULL; head = CMSG_NXTHDR(&message, head)) {
      if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
      for (size_t i = 0; i < (head->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
        int descriptor;
        memcpy(&descriptor, CMSG_DATA(head) + i * sizeof(int), sizeof descriptor);
        close(descriptor);
      }
    }
    got = 0;
  }
  napi_value result, data, descriptors;
  napi_create_object(env, &result);
  napi_create_buffer_copy(env, got > 0 ? (size_t)got : 0, bytes, NULL, &data);
  napi_create_array(env, &descriptors);
  uint32_t count = 0;
  if (got > 0) {
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head != NULL; head = CMSG_NXTHDR(&message, head)) {
      if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
      size_t received = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < received; i++) {
        int descriptor;
        memcpy(&descriptor, CMSG_DATA(head) + i * sizeof(int), sizeof descriptor);
        napi_set_element(env, descriptors, count++, int_value(env, descriptor));
      }
    }
  }
  napi_set_named_property(env, result, "data", data);
  napi_set_named_property(env, result, "descriptors", descriptors);
  return result;
}

static napi_value send_message(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  size_t given = 3;
  int fd;
  uint8_t *data;
  size_t length;
  napi_get_cb_info(env, info, &given, argv, NULL, NULL);
  if (given < 2) {
    napi_throw_type_error(env, NULL, "Too few arguments");
    return NULL;
  }
  if (!as_int(env, argv[0], &fd) || !as_buffer(env, argv[1], &data, &length)) return NULL;
  union {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(int) * MAX_DESCRIPTORS)];
  } control;
  struct iovec part = {.iov_base = data, .iov_len = length};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  uint32_t count = 0;
  if (given > 2 && napi_get_array_length(env, argv[2], &count) != napi_ok) count = 0;
  if (count > MAX_DESCRIPTORS) {
    napi_throw_range_error(env, NULL, "Too many descriptors");
    return NULL;
  }
  if (count > 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int) * count);
    for (uint32_t i = 0; i < count; i++) {
      napi_value element;
      int descriptor;
      napi_get_element(env, argv[2], i, &element);
      if (!as_int(env, element, &descriptor)) return NULL;
      memcpy(CMSG_DATA(head) + i * sizeof(int), &descriptor, sizeof descriptor);
    }
  }
  ssize_t sent;
  do sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? throw_errno(env, "send", errno) : NULL;
}

// ---- plain descriptors ----

static napi_value transfer(napi_env env, napi_callback_info info, bool reading) {
  napi_value argv[4];
  int fd, offset, length;
  uint8_t *data;
  size_t size;
  if (!arguments(env, info, 4, argv, NULL) || !as_int(env, argv[0], &fd) || !as_buffer(env, argv[1], &data, &size) ||
      !as_int(env, argv[2], &offset) || !as_int(env, argv[3], &length))
    return NULL;
  if (offset < 0 || length < 0 || (size_t)offset + (size_t)length > size) {
    napi_throw_range_error(env, NULL, "Offset and length lie outside the buffer");
    return NULL;
  }
  ssize_t done;
  do done = reading ? read(fd, data + offset, (size_t)length) : write(fd, data + offset, (size_t)length);
  while (done < 0 && errno == EINTR);
  return int_value(env, done < 0 ? -errno : done);
}

static napi_value read_bytes(napi_env env, napi_callback_info info) { return transfer(env, info, true); }
static napi_value write_bytes(napi_env env, napi_callback_info info) { return transfer(env, info, false); }

static napi_value set_non_blocking(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  if (!arguments(env, info, 1, argv, NULL) || !as_int(env, argv[0], &fd)) return NULL;
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return throw_errno(env, "fcntl", errno);
  return NULL;
}

static napi_value duplicate(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  if (!arguments(env, info, 1, argv, NULL) || !as_int(env, argv[0], &fd)) return NULL;
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return copy < 0 ? throw_errno(env, "fcntl(F_DUPFD_CLOEXEC)", errno) : int_value(env, copy);
}

static napi_value queued_bytes(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd, count;
  if (!arguments(env, info, 1, argv, NULL) || !as_int(env, argv[0], &fd)) return NULL;
  if (ioctl(fd, FIONREAD, &count) != 0) return throw_errno(env, "ioctl(FIONREAD)", errno);
  return int_value(env, count);
}

/** Read off the terminal's own side, which is opened for a moment. */
static napi_value unread_input(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd, count = 0;
  if (!arguments(env, info, 1, argv, NULL) || !as_int(env, argv[0], &fd)) return NULL;
  int terminal = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (terminal < 0) return throw_errno(env, "ioctl(TIOCGPTPEER)", errno);
  int code = ioctl(terminal, FIONREAD, &count) == 0 ? 0 : errno;
  close(terminal);
  if (code != 0) return throw_errno(env, "ioctl(FIONREAD)", code);
  return int_value(env, count);
}

static napi_value lock_file(napi_env env, napi_callback_info info) {
  napi_value argv[1], result;
  int fd;
  if (!arguments(env, info, 1, argv, NULL) || !as_int(env, argv[0], &fd)) return NULL;
  bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
  if (!locked && errno != EWOULDBLOCK) return throw_errno(env, "flock", errno);
  napi_get_boolean(env, locked, &result);
  return result;
}

static napi_value sealed_file(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  uint8_t *data;
  size_t length, used;
  char name[64];
  if (!arguments(env, info, 2, argv, NULL) || !as_buffer(env, argv[1], &data, &length)) return NULL;
  if (napi_get_value_string_utf8(env, argv[0], name, sizeof name, &used) != napi_ok) {
    napi_throw_type_error(env, NULL, "Expected a name");
    return NULL;
  }
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return throw_errno(env, "memfd_create", errno);
  for (size_t done = 0; done < length;) {
    ssize_t wrote = write(fd, data + done, length - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) {
      int code = errno;
      close(fd);
      return throw_errno(env, "write", code);
    }
    done += (size_t)wrote;
  }
  if (lseek(fd, 0, SEEK_SET) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
    int code = errno;
    close(fd);
    return throw_errno(env, "fcntl(F_ADD_SEALS)", code);
  }
  return int_value(env, fd);
}

// ---- terminals ----

static napi_value set_window_size(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  int fd, cols, rows;
  if (!arguments(env, info, 3, argv, NULL) || !as_int(env, argv[0], &fd) || !as_int(env, argv[1], &cols) || !as_int(env, argv[2], &rows)) return NULL;
  if (cols < 1 || rows < 1 || cols > UINT16_MAX || rows > UINT16_MAX) {
    napi_throw_range_error(env, NULL, "Expected a size of 1 to 65535 columns and rows");
    return NULL;
  }
  struct winsize size = {.ws_col = (unsigned short)cols, .ws_row = (unsigned short)rows};
  return ioctl(fd, TIOCSWINSZ, &size) != 0 ? throw_errno(env, "ioctl(TIOCSWINSZ)", errno) : NULL;
}

static napi_value window_size(napi_env env, napi_callback_info info) {
  napi_value argv[1], result;
  int fd;
  struct winsize size;
  if (!arguments(env, info, 1, argv, NULL) || !as_int(env, argv[0], &fd)) return NULL;
  if (ioctl(fd, TIOCGWINSZ, &size) != 0) return throw_errno(env, "ioctl(TIOCGWINSZ)", errno);
  napi_create_object(env, &result);
  napi_set_named_property(env, result, "cols", int_value(env, size.ws_col));
  napi_set_named_property(env, result, "rows", int_value(env, size.ws_row));
  return result;
}

static napi_value foreground_group(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  pid_t group;
  if (!arguments(env, info, 1, argv, NULL) || !as_int(env, argv[0], &fd)) return NULL;
  if (ioctl(fd, TIOCGPGRP, &group) != 0) return throw_errno(env, "ioctl(TIOCGPGRP)", errno);
  return int_value(env, group);
}

static napi_value terminal_flags(napi_env env, napi_callback_info info) {
  napi_value argv[1], result;
  int fd;
  struct termios modes;
  if (!arguments(env, info, 1, argv, NULL) || !as_int(env, argv[0], &fd)) return NULL;
  if (tcgetattr(fd, &modes) != 0) return throw_errno(env, "tcgetattr", errno);
  napi_create_object(env, &result);
  set_bool(env, result, "canonical", (modes.c_lflag & ICANON) != 0);
  set_bool(env, result, "echo", (modes.c_lflag & ECHO) != 0);
  set_bool(env, result, "signals", (modes.c_lflag & ISIG) != 0);
  return result;
}

// ---- this process ----

static napi_value hide_process(napi_env env, napi_callback_info info) {
  (void)info;
  struct rlimit none = {0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0) return throw_errno(env, "setrlimit", errno);
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return throw_errno(env, "prctl(PR_SET_DUMPABLE)", errno);
  return NULL;
}

// ---- Watcher: uv_poll with one JavaScript callback ----

struct watcher {
  uv_poll_t poll;
  napi_env env;
  napi_ref callback;
  napi_async_context context;
  bool closed;
  bool finalized;
};

static void watcher_freed(uv_handle_t *handle) {
  struct watcher *watcher = handle->data;
  watcher->closed = true;
  if (watcher->finalized) free(watcher);
}

static void watcher_end(struct watcher *watcher) {
  if (uv_is_closing((uv_handle_t *)&watcher->poll)) return;
  napi_delete_reference(watcher->env, watcher->callback);
  napi_async_destroy(watcher->env, watcher->context);
  uv_close((uv_handle_t *)&watcher->poll, watcher_freed);
}

static void watcher_finalize(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  struct watcher *watcher = data;
  watcher->finalized = true;
  if (watcher->closed) free(watcher);
  else watcher_end(watcher);
}

static void watcher_event(uv_poll_t *poll, int status, int events) {
  struct watcher *watcher = poll->data;
  napi_env env = watcher->env;
  napi_handle_scope scope;
  napi_open_handle_scope(env, &scope);
  napi_value callback, self, argument;
  napi_get_reference_value(env, watcher->callback, &callback);
  napi_get_global(env, &self);
  // An error of the descriptor is told as readable: the read that follows names it.
  int told = status < 0 ? 1 : ((events & (UV_READABLE | UV_DISCONNECT)) ? 1 : 0) | ((events & UV_WRITABLE) ? 2 : 0);
  napi_create_int32(env, told, &argument);
  napi_status called = napi_make_callback(env, watcher->context, self, callback, 1, &argument, NULL);
  if (called == napi_pending_exception) {
    napi_value error;
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

static napi_value watcher_new(napi_env env, napi_callback_info info) {
  napi_value argv[2], self, name;
  int fd;
  if (!arguments(env, info, 2, argv, &self) || !as_int(env, argv[0], &fd)) return NULL;
  struct watcher *watcher = calloc(1, sizeof *watcher);
  if (watcher == NULL) return throw_errno(env, "calloc", ENOMEM);
  uv_loop_t *loop;
  napi_get_uv_event_loop(env, &loop);
  int failed = uv_poll_init(loop, &watcher->poll, fd);
  if (failed != 0) {
    free(watcher);
    return throw_errno(env, "uv_poll_init", -failed);
  }
  watcher->env = env;
  watcher->poll.data = watcher;
  napi_create_reference(env, argv[1], 1, &watcher->callback);
  napi_create_string_utf8(env, "agentkube.watcher", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, self, name, &watcher->context);
  napi_wrap(env, self, watcher, watcher_finalize, NULL, NULL);
  return self;
}

static napi_value watcher_watch(napi_env env, napi_callback_info info) {
  napi_value argv[1], self;
  int wanted;
  struct watcher *watcher;
  if (!arguments(env, info, 1, argv, &self) || !as_int(env, argv[0], &wanted)) return NULL;
  if (napi_unwrap(env, self, (void **)&watcher) != napi_ok || uv_is_closing((uv_handle_t *)&watcher->poll)) {
    napi_throw_error(env, "ERR_CLOSED", "The watcher is closed");
    return NULL;
  }
  int events = ((wanted & 1) ? UV_READABLE | UV_DISCONNECT : 0) | ((wanted & 2) ? UV_WRITABLE : 0);
  int failed = events == 0 ? uv_poll_stop(&watcher->poll) : uv_poll_start(&watcher->poll, events, watcher_event);
  return failed != 0 ? throw_errno(env, "uv_poll_start", -failed) : NULL;
}

static napi_value watcher_close(napi_env env, napi_callback_info info) {
  napi_value self;
  struct watcher *watcher;
  napi_get_cb_info(env, info, NULL, NULL, &self, NULL);
  if (napi_unwrap(env, self, (void **)&watcher) == napi_ok) watcher_end(watcher);
  return NULL;
}

NAPI_MODULE_INIT() {
  static const struct {
    const char *name;
    napi_callback call;
  } functions[] = {
      {"socketPair", socket_pair},         {"receive", receive},
      {"send", send_message},              {"read", read_bytes},
      {"write", write_bytes},              {"setNonBlocking", set_non_blocking},
      {"setWindowSize", set_window_size},  {"windowSize", window_size},
      {"foregroundGroup", foreground_group}, {"terminalFlags", terminal_flags},
      {"unreadInput", unread_input},       {"queuedBytes", queued_bytes},       {"lockFile", lock_file},
      {"hideProcess", hide_process},       {"sealedFile", sealed_file},
      {"pipe", new_pipe},                  {"duplicate", duplicate},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, NULL, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  const napi_property_descriptor methods[] = {
      {.utf8name = "watch", .method = watcher_watch, .attributes = napi_default_method},
      {.utf8name = "close", .method = watcher_close, .attributes = napi_default_method},
  };
  napi_value watcher_class;
  napi_define_class(env, "Watcher", NAPI_AUTO_LENGTH, watcher_new, NULL, 2, methods, &watcher_class);
  napi_set_named_property(env, exports, "Watcher", watcher_class);
  return exports;
}
