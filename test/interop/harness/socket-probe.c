/*
 * A program for tests of `mptcp run`: small, with the C library or without, and it says what its sockets are.
 *   types            each kind of socket: family, type, protocol asked for, what came of it
 *   hold HOST PORT   connects, says so, waits for the end of its input
 *   serve PORT       accepts one connection, says so, and reads it to its end
 *   many COUNT       makes and closes so many sockets: how many speak MPTCP, and the median microseconds of one call
 *   wait             makes one socket for each line of input
 *   storm COUNT      the same from four threads at once while a signal comes each 100 us, whose handler restarts calls
 *   state            signals, limits and descriptors that it was started with
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int protocol_of(int fd) {
  int protocol = -1;
  socklen_t length = sizeof protocol;
  getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length);
  return protocol;
}

static void show(int family, int type, int protocol) {
  int fd = socket(family, type, protocol);
  if (fd < 0) {
    printf("%d %d %d: errno %d\n", family, type, protocol, errno);
    return;
  }
  printf("%d %d %d: protocol %d%s%s\n", family, type, protocol, protocol_of(fd),
         fcntl(fd, F_GETFD) & FD_CLOEXEC ? " cloexec" : "", fcntl(fd, F_GETFL) & O_NONBLOCK ? " nonblock" : "");
  close(fd);
}

static double microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static int by_value(const void *left, const void *right) {
  double difference = *(const double *)left - *(const double *)right;
  return difference < 0 ? -1 : difference > 0;
}

static struct sockaddr_in address_of(const char *host, const char *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
  inet_pton(AF_INET, host, &address.sin_addr);
  return address;
}

static void ignore(int number) { (void)number; }

static void *make_many(void *total) {
  long converted = 0;
  for (int index = 0; index < *(int *)total; index++) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return (void *)(long)-errno;
    converted += protocol_of(fd) == 262;
    close(fd);
  }
  return (void *)converted;
}

int main(int count, char **words) {
  char block[4096];
  const char *task = count > 1 ? words[1] : "";
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (!strcmp(task, "types")) {
    int flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
    show(AF_INET, SOCK_STREAM, 0);
    show(AF_INET6, SOCK_STREAM, 0);
    show(AF_INET, SOCK_STREAM | flags, IPPROTO_TCP);
    show(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    show(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
    show(AF_INET, SOCK_DGRAM, 0);
    show(AF_INET6, SOCK_DGRAM | flags, IPPROTO_UDP);
    show(AF_INET, SOCK_STREAM, IPPROTO_UDP);
    show(AF_INET, SOCK_STREAM | 0x100, 0);
    show(AF_UNIX, SOCK_STREAM, 0);
    show(AF_INET, SOCK_STREAM, 262);
  } else if (!strcmp(task, "hold")) {
    struct sockaddr_in address = address_of(words[2], words[3]);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) return 1;
    if (write(fd, "x", 1) != 1) return 1;
    puts("connected");
    while (read(0, block, sizeof block) > 0) continue;
  } else if (!strcmp(task, "serve")) {
    struct sockaddr_in address = address_of("0.0.0.0", words[2]);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 5) < 0) return 1;
    puts("listening");
    int peer = accept(fd, NULL, NULL);
    puts("accepted");
    while (read(peer, block, sizeof block) > 0) continue;
  } else if (!strcmp(task, "many")) {
    int total = atoi(words[2]), converted = 0;
    double *times = malloc(total * sizeof *times);
    for (int index = 0; index < total; index++) {
      double before = microseconds();
      int fd = socket(AF_INET, SOCK_STREAM, 0);
      times[index] = microseconds() - before;
      if (fd < 0) return 1;
      converted += protocol_of(fd) == 262;
      close(fd);
    }
    qsort(times, total, sizeof *times, by_value);
    printf("converted %d median %.1f\n", converted, times[total / 2]);
  } else if (!strcmp(task, "storm")) {
    int total = atoi(words[2]);
    long converted = 0;
    pthread_t threads[4];
    struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};
    struct itimerval interval = {{0, 100}, {0, 100}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &interval, NULL);
    for (int index = 0; index < 4; index++) pthread_create(&threads[index], NULL, make_many, &total);
    for (int index = 0; index < 4; index++) {
      void *result;
      pthread_join(threads[index], &result);
      if ((long)result < 0) printf("errno %ld\n", -(long)result);
      converted += (long)result;
    }
    printf("converted %ld\n", converted);
  } else if (!strcmp(task, "wait")) {
    puts("ready");
    while (fgets(block, sizeof block, stdin)) show(AF_INET, SOCK_STREAM, 0);
  } else if (!strcmp(task, "state")) {
    struct rlimit limit;
    sigset_t blocked;
    struct sigaction action;
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    for (int number = 1; number < 32; number++) {
      sigaction(number, NULL, &action);
      if (action.sa_handler != SIG_DFL) printf("signal %d is not at its default\n", number);
      if (sigismember(&blocked, number)) printf("signal %d is blocked\n", number);
    }
    getrlimit(RLIMIT_NOFILE, &limit);
    printf("pid %d, parent %d, files %ld, open", getpid(), getppid(), (long)limit.rlim_cur);
    for (int fd = 0; fd < 64; fd++) {
      int flags = fcntl(fd, F_GETFL);
      if (flags >= 0) printf(" %d%s", fd, flags & O_NONBLOCK ? " (nonblock)" : "");
    }
    puts("");
  } else {
    return 2;
  }
  return 0;
}
