/*
 * client: joins its standard input and output to a port of another domain.
 *
 *	cc -Wall -Wextra -Werror -std=c11 -o client client.c
 *	echo hello | ./client 5 5000
 *	./client 0x7FF1 7
 *
 * Nothing but AF_VSOCK, vsock(7). The CID is the id of the domain from 3 up, 65536 + id
 * for the domains 0, 1 and 2 (Linux uses those CIDs itself), 0x7FF1 for the domain of
 * the backend (usually dom0), 0x7FF0 for this one. Names are not for AF_VSOCK:
 * `xvsock peers` tells the ids.
 *
 * connect(2) fails with
 *	ECONNRESET	nobody listens there, or policy denies it. Never ECONNREFUSED.
 *	ENODEV		no such domain, none that policy lets this one reach, or no bridge
 *	ETIMEDOUT	no answer in 2 s, or as SO_VM_SOCKETS_CONNECT_TIMEOUT says
 * Later, ECONNRESET is a link that was lost: the domain died, or one of the two was
 * migrated. Who has to survive that connects again; python/client.py does.
 */
#define _GNU_SOURCE
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <linux/vm_sockets.h>

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Copies until the end of from. A write may take only a part. */
static void copy(int from, int to)
{
	char buf[65536];
	ssize_t got, put;

	while ((got = read(from, buf, sizeof(buf))) > 0) {
		for (char *p = buf; got > 0; p += put, got -= put) {
			put = write(to, p, got);
			if (put < 0)
				err(1, "write");
		}
	}
	if (got < 0)
		err(1, "read");
}

static unsigned long number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 0);

	if (!*text || *end || n >= VMADDR_CID_ANY) /* no CID, and no port */
		errx(2, "%s: want a number", text);
	return n;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		errx(2, "usage: client CID PORT");
	struct sockaddr_vm there = {
		.svm_family = AF_VSOCK,
		.svm_cid = number(argv[1]),
		.svm_port = number(argv[2]),
	};
	int conn = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (conn < 0)
		err(1, "socket(AF_VSOCK): is the kernel module vsock loaded");
	/* The first connection to a domain makes a link, too. Busy hosts need longer than 2 s. */
	struct timeval patience = { .tv_sec = 5 };
	if (setsockopt(conn, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience, sizeof(patience)) < 0)
		err(1, "SO_VM_SOCKETS_CONNECT_TIMEOUT");
	if (connect(conn, (struct sockaddr *)&there, sizeof(there)) < 0)
		errx(1, "CID %s, port %s: %s%s", argv[1], argv[2], strerror(errno),
		     errno == ECONNRESET ? " (nobody listens, or denied)" :
		     errno == ENODEV ? " (no such domain, or none that may be reached)" : "");

	/* One process for each way, and each way to its own end. */
	pid_t sender = fork();
	if (sender < 0)
		err(1, "fork");
	if (sender == 0) {
		copy(STDIN_FILENO, conn);
		if (shutdown(conn, SHUT_WR) < 0 && errno != ENOTCONN) /* it has closed already */
			err(1, "shutdown");
		return 0;
	}
	copy(conn, STDOUT_FILENO);
	int status;
	if (waitpid(sender, &status, 0) < 0)
		err(1, "waitpid");
	if (WIFSIGNALED(status)) /* SIGPIPE */
		errx(1, "the other end did not take all of the input");
	return WEXITSTATUS(status);
}
