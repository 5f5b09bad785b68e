/*
 * For LD_PRELOAD: AF_VSOCK sockets of a program become unix sockets in the directory
 * $OVERUNIX, one file a port, whatever the CID. The examples can be run with it where
 * the kernel has no AF_VSOCK to another domain. An accepted socket is from $OVERUNIX_CID,
 * port 4242. A port that nobody has refuses as a bridge does: ECONNRESET.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/vm_sockets.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static struct sockaddr_un place(const struct sockaddr *a)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/%u", getenv("OVERUNIX"),
		 ((const struct sockaddr_vm *)a)->svm_port);
	return un;
}

static void from(struct sockaddr *a, socklen_t *len)
{
	struct sockaddr_vm vm = { .svm_family = AF_VSOCK, .svm_port = 4242 };

	vm.svm_cid = strtoul(getenv("OVERUNIX_CID"), NULL, 0);
	memcpy(a, &vm, *len < sizeof(vm) ? *len : sizeof(vm));
	*len = sizeof(vm);
}

int socket(int family, int type, int protocol)
{
	return NEXT(socket)(family == AF_VSOCK ? AF_UNIX : family, type, protocol);
}

int bind(int fd, const struct sockaddr *a, socklen_t len)
{
	struct sockaddr_un un;

	if (a->sa_family != AF_VSOCK)
		return NEXT(bind)(fd, a, len);
	un = place(a);
	return NEXT(bind)(fd, (struct sockaddr *)&un, sizeof(un));
}

int connect(int fd, const struct sockaddr *a, socklen_t len)
{
	struct sockaddr_un un;
	int failed;

	if (a->sa_family != AF_VSOCK)
		return NEXT(connect)(fd, a, len);
	un = place(a);
	failed = NEXT(connect)(fd, (struct sockaddr *)&un, sizeof(un));
	if (failed && (errno == ENOENT || errno == ECONNREFUSED))
		errno = ECONNRESET;
	return failed;
}

int accept4(int fd, struct sockaddr *a, socklen_t *len, int flags)
{
	struct sockaddr_un un;
	socklen_t unlen = sizeof(un);
	int conn = NEXT(accept4)(fd, (struct sockaddr *)&un, &unlen, flags);

	if (conn >= 0 && a)
		from(a, len);
	return conn;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	return level == AF_VSOCK ? 0 : NEXT(setsockopt)(fd, level, name, value, len);
}
