/*
 * The peer of the benchmarks: round trips and streams over libxenvchan, as a program
 * would use it, by blocking calls.
 *
 *   vchan server DOMID PATH RINGBYTES        serves one client after another, for ever
 *   vchan client DOMID PATH RINGBYTES CASE SIZE AMOUNT LOT
 *
 * DOMID is the other domain, PATH the node of xenstore under which the server says how
 * it is reached, below its own /local/domain/ID/data. RINGBYTES is the size of each of
 * the two rings, which the server alone chooses.
 *
 * CASE is rr, round trips of SIZE bytes; stream, messages of SIZE bytes one way, which
 * are taken whole; drain, the same messages taken as they come; or connect, attaching to
 * the server, a round trip of SIZE bytes, and leaving it. AMOUNT is how long it goes on
 * in seconds, if it ends in s, else a number of round trips, messages or attachments.
 * The clock is read once in LOT of them: in a PV guest that may be a system call, as
 * costly as what is measured. A sample is the mean of a lot.
 *
 * The client prints one line of JSON, as `xvsock bench -o json` does. The receiver of a
 * stream counts and times it, and tells the client, from the first byte to the last.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <libxenvchan.h>

enum { MAX_SIZE = 1 << 20, MAX_SAMPLES = 1 << 20 };
enum { MORE = 1, LAST = 2 }; /* the first byte of a message */
enum { WARM_UP = 10 };       /* a tenth of a fixed number, or of the time, goes first */

/* What the client says at first, and what the receiver of a stream says at last. */
struct order { uint32_t kind, size; };
struct received { uint64_t bytes, nanoseconds; };

static char buffer[MAX_SIZE];
static double samples[MAX_SAMPLES];

static void die(const char *what)
{
	fprintf(stderr, "vchan: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* In pieces: a ring may be smaller than the data, and recv and send want it whole. */
static void get(struct libxenvchan *c, void *data, size_t size)
{
	int n;

	for (char *at = data; size; at += n, size -= n)
		if ((n = libxenvchan_read(c, at, size)) <= 0)
			die("read");
}

static void put(struct libxenvchan *c, const void *data, size_t size)
{
	int n;

	for (const char *at = data; size; at += n, size -= n)
		if ((n = libxenvchan_write(c, at, size)) <= 0)
			die("write");
}

/* A message is sent at once where the ring is large enough, as it is made for. */
static void send_message(struct libxenvchan *c, size_t size, size_t ring)
{
	if (size > ring)
		put(c, buffer, size);
	else if (libxenvchan_send(c, buffer, size) != (int)size)
		die("send");
}

static void receive_message(struct libxenvchan *c, size_t size, size_t ring)
{
	if (size > ring)
		get(c, buffer, size);
	else if (libxenvchan_recv(c, buffer, size) != (int)size)
		die("recv");
}

/* is_last looks whether a message that begins in these n bytes is marked as the last. */
static int is_last(uint64_t before, size_t n, size_t size)
{
	for (size_t at = (size - before % size) % size; at < n; at += size)
		if (buffer[at] == LAST)
			return 1;
	return 0;
}

static struct received receive_stream(struct libxenvchan *c, size_t size, size_t ring, int whole)
{
	uint64_t start = 0, bytes = 0;
	int last = 0, n;

	while (!last || bytes % size) {
		if (whole) {
			receive_message(c, size, ring);
			n = size;
		} else if ((n = libxenvchan_read(c, buffer, sizeof buffer)) <= 0) {
			die("read");
		}
		if (!start)
			start = now();
		last |= is_last(bytes, n, size);
		bytes += n;
	}
	return (struct received){bytes, now() - start};
}

static void serve(struct libxenvchan *c, size_t ring)
{
	struct order o;
	struct received r;
	int last;

	get(c, &o, sizeof o);
	if (o.size < 1 || o.size > MAX_SIZE)
		exit(1);
	if (o.kind == 'r') {
		do {
			receive_message(c, o.size, ring);
			last = buffer[0] == LAST; /* before a client that has it all may go */
			send_message(c, o.size, ring);
		} while (!last);
		return;
	}
	r = receive_stream(c, o.size, ring, o.kind == 's');
	put(c, &r, sizeof r);
}

/* An amount is a number of operations or a time. */
struct amount { uint64_t count, nanoseconds; };

static struct amount parse_amount(const char *s)
{
	char *end;
	double n = strtod(s, &end);

	if (n <= 0 || (*end && strcmp(end, "s")))
		die("AMOUNT is a number, or a time in seconds that ends in s");
	return *end ? (struct amount){0, n * 1e9} : (struct amount){n, 0};
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The smallest sample that a part of all samples does not exceed. */
static double percentile(size_t n, double part)
{
	size_t rank = part * n + 0.999999;

	return samples[rank ? rank - 1 : 0];
}

/* When it is over, of operations that began at start. */
static int over(struct amount a, uint64_t done, uint64_t start, uint64_t at)
{
	return a.count ? done >= a.count : at - start >= a.nanoseconds;
}

/* Prints what all of the first n samples say, of which each is of lot operations. */
static void report(const char *name, size_t size, size_t n, int lot)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += samples[i];
	qsort(samples, n, sizeof *samples, ascending);
	printf("[{\"case\":\"%s\",\"size\":%zu,\"lot\":%d,\"count\":%zu,\"rate\":%.3f,\"percentiles_us\":{\"min\":%.3f,"
	       "\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"p99_9\":%.3f,\"max\":%.3f,\"mean\":%.3f}}]\n",
	       name, size, lot, n * lot, 1e6 * n / sum, samples[0], percentile(n, .5), percentile(n, .9),
	       percentile(n, .99), percentile(n, .999), samples[n - 1], sum / n);
}

/* Round trips until the amount is reached; gives how many lots there were. */
static size_t trips(struct libxenvchan *c, size_t size, size_t ring, struct amount a, int lot)
{
	uint64_t start = now(), before = start, after;
	size_t lots = 0;

	do {
		for (int i = 0; i < lot; i++) {
			send_message(c, size, ring);
			receive_message(c, size, ring);
		}
		after = now();
		samples[lots++] = (after - before) / 1e3 / lot;
		before = after;
	} while (lots < MAX_SAMPLES && !over(a, lots * lot, start, after));
	return lots;
}

static void round_trips(struct libxenvchan *c, size_t size, size_t ring, struct amount a, int lot)
{
	size_t n;

	buffer[0] = MORE;
	trips(c, size, ring, (struct amount){a.count ? a.count / WARM_UP + 1 : 0, a.nanoseconds / WARM_UP}, lot);
	n = trips(c, size, ring, a, lot);
	buffer[0] = LAST;
	send_message(c, size, ring);
	receive_message(c, size, ring);
	report("rr", size, n, lot);
}

static void stream(struct libxenvchan *c, const char *name, size_t size, size_t ring, struct amount a, int lot)
{
	uint64_t start = now();
	struct received r;

	buffer[0] = MORE;
	for (uint64_t sent = 1; ; sent++) {
		if (a.count ? sent >= a.count : sent % lot == 0 && over(a, sent, start, now()))
			break;
		send_message(c, size, ring);
	}
	buffer[0] = LAST;
	send_message(c, size, ring);
	get(c, &r, sizeof r);
	printf("[{\"case\":\"%s\",\"size\":%zu,\"count\":%llu,\"seconds\":%.6f,\"mb_s\":%.3f}]\n", name, size,
	       (unsigned long long)(r.bytes / size), r.nanoseconds / 1e9, r.bytes * 1e3 / r.nanoseconds);
}

/* The server may have just been started. */
static struct libxenvchan *join(int domain, const char *path)
{
	struct libxenvchan *c;

	for (int tries = 0; !(c = libxenvchan_client_init(NULL, domain, path)); tries++) {
		if (tries == 500)
			die("no server");
		usleep(20000);
	}
	c->blocking = 1;
	return c;
}

/* Attaches, has one message back, and leaves, until the amount is reached. */
static void attach(int domain, const char *path, struct order o, size_t ring, struct amount a, int lot)
{
	uint64_t start = now(), before = start, after;
	size_t lots = 0;

	o.kind = 'r';
	buffer[0] = LAST;
	do {
		for (int i = 0; i < lot; i++) {
			struct libxenvchan *c = join(domain, path);

			put(c, &o, sizeof o);
			send_message(c, o.size, ring);
			receive_message(c, o.size, ring);
			libxenvchan_close(c);
		}
		after = now();
		samples[lots++] = (after - before) / 1e3 / lot;
		before = after;
	} while (lots < MAX_SAMPLES && !over(a, lots * lot, start, after));
	report("connect", o.size, lots, lot);
}

static int client(int domain, const char *path, size_t ring, char **arg)
{
	struct order o = {arg[0][0], strtoul(arg[1], NULL, 0)};
	struct amount a = parse_amount(arg[2]);
	int lot = atoi(arg[3]);
	struct libxenvchan *c;

	if (o.size < 1 || o.size > MAX_SIZE || lot < 1 || !strchr("rsdc", o.kind))
		die("CASE, SIZE or LOT is out of bounds");
	if (o.kind == 'c') {
		attach(domain, path, o, ring, a, lot);
		return 0;
	}
	c = join(domain, path);
	put(c, &o, sizeof o);
	if (o.kind == 'r')
		round_trips(c, o.size, ring, a, lot);
	else
		stream(c, arg[0], o.size, ring, a, lot);
	libxenvchan_close(c);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "server")) {
		size_t ring = strtoul(argv[4], NULL, 0);
		struct libxenvchan *c = libxenvchan_server_init(NULL, atoi(argv[2]), argv[3], ring, ring);

		if (!c)
			die("server");
		c->blocking = c->server_persist = 1;
		for (;;)
			serve(c, ring);
	}
	if (argc == 9 && !strcmp(argv[1], "client"))
		return client(atoi(argv[2]), argv[3], strtoul(argv[4], NULL, 0), argv + 5);
	fprintf(stderr, "usage: vchan server DOMID PATH RINGBYTES\n"
		"       vchan client DOMID PATH RINGBYTES rr|stream|drain|connect SIZE COUNT|SECONDSs LOT\n");
	return 2;
}
