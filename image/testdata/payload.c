/*
 * What the scenarios of the life cycle run as payloads of a service domain. It speaks
 * on standard error, which such a domain puts into its log.
 *
 *   payload storm N   makes N orphans, then says how many processes are left as zombies,
 *                     once none is or after a minute
 *   payload clock     says the time, in seconds since 1970, four times a second
 *   payload cat       copies its input to its output, after saying who it serves
 *   payload serve AT  does so for each connection: to the socket that it was given as
 *                     descriptor 3 (AT is 3), or to one at a path, or at a TCP port
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* zombies counts the processes of the domain that have ended and were not reaped. */
static int zombies(void)
{
	int n = 0;
	DIR *proc = opendir("/proc");
	for (struct dirent *e; proc && (e = readdir(proc));) {
		char path[300], line[512], *after;
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
		FILE *f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(line, sizeof line, f) && (after = strrchr(line, ')')) && after[2] == 'Z')
			n++;
		fclose(f);
	}
	if (proc)
		closedir(proc);
	return n;
}

/*
 * orphans makes up to 100 processes that end once their parent has ended: they read from
 * a pipe of which it alone holds the other end. It gives how many it made.
 */
static int orphans(int n)
{
	int status = 0;
	pid_t parent = fork();
	if (parent == 0) {
		int ends[2], made = 0;
		char c;
		if (pipe(ends))
			_exit(0);
		while (made < n && made < 100) {
			pid_t child = fork();
			if (child == 0) {
				close(ends[1]);
				_exit(read(ends[0], &c, 1) != 0);
			}
			made += child > 0;
			if (child < 0)
				break;
		}
		_exit(made);
	}
	if (parent < 0 || waitpid(parent, &status, 0) != parent || !WIFEXITED(status))
		return 0;
	return WEXITSTATUS(status);
}

static void storm(int n)
{
	int made = 0, left = 0, more = 1;
	while (made < n && more > 0)
		made += more = orphans(n - made);
	for (int i = 0; i < 600 && (left = zombies()) > 0; i++)
		usleep(100000);
	fprintf(stderr, "storm over: %d orphans, %d zombies\n", made, left);
	for (;;)
		pause();
}

static void say_time(void)
{
	for (;;) {
		struct timespec now;
		clock_gettime(CLOCK_REALTIME, &now);
		fprintf(stderr, "the clock says %ld.%03ld\n", (long)now.tv_sec, now.tv_nsec / 1000000);
		usleep(250000);
	}
}

/* copy moves bytes until the end of its input. */
static int copy(int in, int out)
{
	char buffer[16384];
	for (ssize_t n; (n = read(in, buffer, sizeof buffer)) != 0;)
		for (ssize_t at = 0; at < n || n < 0;) {
			ssize_t m = n < 0 ? -1 : write(out, buffer + at, n - at);
			if (m < 0)
				return 1;
			at += m;
		}
	return 0;
}

static const char *variable(const char *name)
{
	const char *value = getenv(name);
	return value ? value : "(none)";
}

static int cat(void)
{
	fprintf(stderr, "serving CID %s port %s service %s\n", variable("XVSOCK_PEER_CID"), variable("XVSOCK_PEER_PORT"), variable("XVSOCK_SERVICE"));
	return copy(0, 1);
}

/* listener makes the socket that serve is told of, -1 if it cannot. */
static int listener(const char *at)
{
	int fd = -1, bad = 1;
	if (!strcmp(at, "3")) {
		if (atoi(variable("LISTEN_PID")) == getpid() && atoi(variable("LISTEN_FDS")) == 1)
			return 3;
		fprintf(stderr, "LISTEN_PID is %s and not %d\n", variable("LISTEN_PID"), getpid());
		return -1;
	}
	if (at[0] == '/') {
		struct sockaddr_un a = {.sun_family = AF_UNIX};
		strncpy(a.sun_path, at, sizeof a.sun_path - 1);
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		bad = bind(fd, (void *)&a, sizeof a);
	} else {
		struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(at)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		fd = socket(AF_INET, SOCK_STREAM, 0);
		bad = bind(fd, (void *)&a, sizeof a);
	}
	if (bad || listen(fd, 16)) {
		perror(at);
		return -1;
	}
	return fd;
}

static int serve(const char *at)
{
	int fd = listener(at);
	if (fd < 0)
		return 1;
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		struct sockaddr_un peer = {0};
		socklen_t size = sizeof peer;
		int c = accept(fd, (void *)&peer, &size);
		if (c >= 0 && fork() == 0) {
			if (peer.sun_family == AF_UNIX && size > sizeof peer.sun_family)
				fprintf(stderr, "%s serves @%.*s\n", at, (int)(size - sizeof peer.sun_family - 1), peer.sun_path + 1);
			_exit(copy(c, c));
		}
		if (c >= 0)
			close(c);
	}
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "cat"))
		return cat();
	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "storm"))
		storm(atoi(argv[2]));
	if (argc == 2 && !strcmp(argv[1], "clock"))
		say_time();
	fprintf(stderr, "use payload storm N, clock, cat, or serve AT\n");
	return 1;
}
