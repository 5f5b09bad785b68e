/*
 * What the scenarios of the life cycle run as payloads of a service domain. It speaks
 * on standard error, which such a domain puts into its log.
 *
 *   payload storm N   makes N orphans, then says how many processes are left as zombies,
 *                     once none is or after a minute
 *   payload clock     says the time, in seconds since 1970, four times a second
 */
#include <ctype.h>
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* orphan makes a process that ends once its parent has ended. */
static int orphan(void)
{
	pid_t parent = fork();
	if (parent == 0) {
		parent = getpid();
		if (fork() == 0)
			while (getppid() == parent)
				sched_yield();
		_exit(0);
	}
	return parent > 0 && waitpid(parent, NULL, 0) == parent;
}

static void storm(int n)
{
	int made = 0, left = 0;
	for (int i = 0; i < n; i++)
		made += orphan();
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

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "storm"))
		storm(atoi(argv[2]));
	if (argc == 2 && !strcmp(argv[1], "clock"))
		say_time();
	fprintf(stderr, "use payload storm N, or payload clock\n");
	return 1;
}
