/*
 * echo: sends back what each connection to a port of this domain brings.
 *
 *	cc -Wall -Wextra -Werror -std=c11 -o echo echo.c
 *	./echo 5000
 *
 * Nothing but AF_VSOCK, vsock(7): the daemon of the domain hands the kernel the
 * connections of other domains. Policy has to allow them:
 *
 *	5000  web-*  db1  allow  conns=64
 *
 * conns= is how many children one domain can have this program make. The CID of an
 * accepted socket is the id of the domain at the other end, from 3 up;
 * 65536 + id for the domains 0, 1 and 2, because Linux uses those CIDs itself. It
 * cannot be forged. Ports below 1024 need CAP_NET_BIND_SERVICE. Bind to
 * VMADDR_CID_ANY: this domain calls itself CID 2, not by its domain id.
 */
#define _GNU_SOURCE
#include <sys/socket.h>
#include <linux/vm_sockets.h>

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Echoes until the other end has sent all. A write may take only a part. */
static _Noreturn void echo(int conn)
{
	char buf[65536];
	ssize_t got, put;

	while ((got = read(conn, buf, sizeof(buf))) > 0) {
		for (char *p = buf; got > 0; p += put, got -= put) {
			put = write(conn, p, got);
			if (put < 0)
				err(1, "write");
		}
	}
	/* ECONNRESET: the domain, its link or its daemon has gone. */
	if (got < 0)
		err(1, "read");
	exit(0);
}

int main(int argc, char **argv)
{
	char *end;
	unsigned long port = argc == 2 ? strtoul(argv[1], &end, 0) : 0;

	if (port == 0 || *end || port >= VMADDR_PORT_ANY)
		errx(2, "usage: echo PORT");

	int listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0)
		err(1, "socket(AF_VSOCK): is the kernel module vsock loaded");
	struct sockaddr_vm here = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_ANY,
		.svm_port = port,
	};
	if (bind(listener, (struct sockaddr *)&here, sizeof(here)) < 0)
		err(1, "port %lu", port);
	if (listen(listener, 128) < 0)
		err(1, "listen");
	signal(SIGCHLD, SIG_IGN); /* the kernel reaps the children */
	signal(SIGPIPE, SIG_IGN); /* write says EPIPE */

	/* Listeners outlive the daemon and a migration: this loop never begins anew. */
	for (;;) {
		struct sockaddr_vm peer;
		socklen_t len = sizeof(peer);
		int conn = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);

		if (conn < 0) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			err(1, "accept");
		}
		fprintf(stderr, "echo: CID %u, port %u\n", peer.svm_cid, peer.svm_port);
		switch (fork()) {
		case 0:
			close(listener);
			echo(conn);
		case -1:
			warn("fork"); /* this connection is closed, the next may do better */
		}
		close(conn);
	}
}
