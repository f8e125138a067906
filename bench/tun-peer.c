/*
 * A kernel endpoint for bench/tun.ts: "sink ADDRESS PORT PROTOCOL" accepts one connection and reads it to its end;
 * "source ADDRESS PORT PROTOCOL MILLISECONDS" connects and writes for that long. PROTOCOL: 0 TCP, 262 MPTCP.
 * A sink prints "listening", then bytes and nanoseconds from the first byte to the last.
 * "echo ADDRESS PORT PROTOCOL" sends back what it reads, one connection after another, until it is killed.
 * "ping ADDRESS PORT PROTOCOL COUNT" exchanges single bytes and prints the round trips in nanoseconds, p50 and p99;
 * "open ADDRESS PORT PROTOCOL MILLISECONDS" connects, exchanges a byte and closes, over and over: prints how many.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buffer[1 << 20];

static long long nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int fail(const char *what) {
  perror(what);
  return 1;
}

static int ascending(const void *a, const void *b) {
  long long x = *(const long long *)a, y = *(const long long *)b;
  return x < y ? -1 : x > y;
}

static int exchange(int fd) {
  char byte = 1;
  return write(fd, &byte, 1) == 1 && read(fd, &byte, 1) == 1;
}

int main(int count, char **words) {
  if (count < 5) return 2;
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(atoi(words[3]))};
  inet_pton(AF_INET, words[2], &name.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM, atoi(words[4])), one = 1;
  if (fd < 0) return fail("socket");
  if (strcmp(words[1], "sink") == 0) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&name, sizeof name) < 0 || listen(fd, 1) < 0) return fail("listen");
    printf("listening\n");
    fflush(stdout);
    int from = accept(fd, NULL, NULL);
    if (from < 0) return fail("accept");
    long long total = 0, start = 0, end = 0;
    for (;;) {
      ssize_t got = read(from, buffer, sizeof buffer);
      if (got <= 0) break;
      end = nanoseconds();
      if (total == 0) start = end;
      total += got;
    }
    printf("%lld %lld\n", total, end - start);
    return 0;
  }
  if (strcmp(words[1], "echo") == 0) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&name, sizeof name) < 0 || listen(fd, 128) < 0) return fail("listen");
    printf("listening\n");
    fflush(stdout);
    for (;;) {
      int from = accept(fd, NULL, NULL);
      if (from < 0) return fail("accept");
      setsockopt(from, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      for (ssize_t got; (got = read(from, buffer, 4096)) > 0;)
        if (write(from, buffer, got) != got) break;
      close(from);
    }
  }
  if (count < 6) return 2;
  if (strcmp(words[1], "open") == 0) {
    long long until = nanoseconds() + atoll(words[5]) * 1000000LL, opened = 0;
    struct linger reset = {1, 0};
    close(fd);
    while (nanoseconds() < until) {
      fd = socket(AF_INET, SOCK_STREAM, atoi(words[4]));
      if (fd < 0) return fail("socket");
      if (connect(fd, (struct sockaddr *)&name, sizeof name) < 0 || !exchange(fd)) return fail("open");
      /* A reset, so that neither end collects TIME-WAITs and the ports last. */
      setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      close(fd);
      opened++;
    }
    printf("%lld\n", opened);
    return 0;
  }
  if (strcmp(words[1], "ping") == 0) {
    int rounds = atoi(words[5]);
    long long *times = malloc(rounds * sizeof *times);
    if (connect(fd, (struct sockaddr *)&name, sizeof name) < 0) return fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (int round = -100; round < rounds; round++) {
      long long start = nanoseconds();
      if (!exchange(fd)) return fail("ping");
      if (round >= 0) times[round] = nanoseconds() - start;
    }
    qsort(times, rounds, sizeof *times, ascending);
    printf("%lld %lld\n", times[rounds / 2], times[rounds - 1 - rounds / 100]);
    return 0;
  }
  if (connect(fd, (struct sockaddr *)&name, sizeof name) < 0) return fail("connect");
  long long until = nanoseconds() + atoll(words[5]) * 1000000LL;
  while (nanoseconds() < until)
    if (write(fd, buffer, 262144) < 0) return fail("write");
  return 0;
}
