/*
 * What a stream socket costs: round trips of one byte, and writes of 64 KiB.
 *
 *   afbench serve PORT PATH        listens at AF_VSOCK and at a unix socket
 *   afbench vsock CID PORT         measures, and prints JSON
 *   afbench unix PATH              the same over the unix socket
 *
 * A client says first what it wants: r to have each byte back, s to send until it
 * shuts its sending and to have one byte back then.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/vm_sockets.h>

enum { TRIPS = 300, CHUNK = 65536, CHUNKS = 256 };

static char buffer[CHUNK];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void all(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);
		if (n <= 0)
			die("write");
		data += n;
		size -= n;
	}
}

static void answer(int fd)
{
	char mode;
	ssize_t n;

	if (read(fd, &mode, 1) != 1)
		return;
	while ((n = read(fd, buffer, mode == 'r' ? 1 : CHUNK)) > 0)
		if (mode == 'r')
			all(fd, buffer, n);
	if (mode == 's')
		all(fd, "e", 1);
}

static union address {
	struct sockaddr any;
	struct sockaddr_vm vm;
	struct sockaddr_un un;
} at_vsock(unsigned cid, unsigned port)
{
	union address a;

	memset(&a, 0, sizeof a);
	a.vm.svm_family = AF_VSOCK;
	a.vm.svm_cid = cid;
	a.vm.svm_port = port;
	return a;
}

static union address at_unix(const char *path)
{
	union address a;

	memset(&a, 0, sizeof a);
	a.un.sun_family = AF_UNIX;
	strncpy(a.un.sun_path, path, sizeof a.un.sun_path - 1);
	return a;
}

static socklen_t size_of(const union address *a)
{
	return a->any.sa_family == AF_UNIX ? sizeof a->un : sizeof a->vm;
}

static void serve(union address a)
{
	int s = socket(a.any.sa_family, SOCK_STREAM, 0);

	if (s < 0 || bind(s, &a.any, size_of(&a)) || listen(s, 16))
		die("listen");
	for (;;) {
		int c = accept(s, NULL, NULL);
		if (c < 0)
			die("accept");
		answer(c);
		close(c);
	}
}

static int dial(const union address *a, char mode)
{
	int s = socket(a->any.sa_family, SOCK_STREAM, 0);

	if (s < 0 || connect(s, &a->any, size_of(a)))
		die("connect");
	all(s, &mode, 1);
	return s;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void measure(union address a)
{
	double start, trip, stream;
	int i, s = dial(&a, 'r');
	char c = 'x';

	for (i = -TRIPS / 10, start = 0; i < TRIPS; i++) {
		if (i == 0)
			start = now();
		all(s, &c, 1);
		if (read(s, &c, 1) != 1)
			die("read");
	}
	trip = (now() - start) / TRIPS;
	close(s);
	s = dial(&a, 's');
	start = now();
	for (i = 0; i < CHUNKS; i++)
		all(s, buffer, CHUNK);
	shutdown(s, SHUT_WR);
	if (read(s, &c, 1) != 1)
		die("read");
	stream = now() - start;
	close(s);
	printf("{\"trip\": %.1f, \"stream\": %.2f}\n", trip * 1e6, (double)CHUNKS * CHUNK / stream / 1e6);
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "serve")) {
		if (fork())
			serve(at_vsock(VMADDR_CID_ANY, atoi(argv[2])));
		serve(at_unix(argv[3]));
	} else if (argc == 4 && !strcmp(argv[1], "vsock")) {
		measure(at_vsock(strtoul(argv[2], NULL, 0), atoi(argv[3])));
	} else if (argc == 3 && !strcmp(argv[1], "unix")) {
		measure(at_unix(argv[2]));
	} else {
		return 2;
	}
	return 0;
}
