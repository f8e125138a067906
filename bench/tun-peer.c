/*
 * A kernel endpoint for bench/tun.ts: "sink ADDRESS PORT PROTOCOL" accepts one connection and reads it to its end;
 * "source ADDRESS PORT PROTOCOL MILLISECONDS" connects and writes for that long. PROTOCOL: 0 TCP, 262 MPTCP.
 * A sink prints "listening", then bytes and nanoseconds from the first byte to the last.
 */
#include <arpa/inet.h>
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
  if (count < 6) return 2;
  if (connect(fd, (struct sockaddr *)&name, sizeof name) < 0) return fail("connect");
  long long until = nanoseconds() + atoll(words[5]) * 1000000LL;
  while (nanoseconds() < until)
    if (write(fd, buffer, 262144) < 0) return fail("write");
  return 0;
}
