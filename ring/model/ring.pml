/*
 * The ring and its wake-up protocol, between an honest writer and an honest
 * reader (package ring; the rules W1-W4 are in its comment). One direction is
 * modelled: the writer is the send side of one End and its fetches of the
 * consumer, the reader is the receive side of the other End.
 *
 *   here                      Go
 *   WFetch, RFetch            End.Fetch (fetch.go)
 *   publish                   pair.publish (position.go)
 *   fetchPair                 fetched.check, and Xen's bytewise copy
 *   Commit, Want              producer.go
 *   Discard                   consumer.go: moving the consumer, in Discard or Peek
 *   grant, wish               receiver.grant, receiver.wish (wake.go)
 *   Flush                     due.send (wake.go)
 *   Awake                     End.Awake (wake.go)
 *   WSleep, RSleep            what the user of an End does: it is part of W4
 *
 * Checked: what the reader takes is what was written, in order; no position of
 * an honest peer is called a lie; and there is no deadlock: a reader that sleeps
 * while data is published, or a writer that sleeps while the space it wants is
 * free, is an invalid end state, for no timer wakes anybody.
 *
 * -DMAP: words are loaded whole, after a fence, and data is read in place.
 *        Otherwise they are copied in pieces, lower first, with one slot of
 *        data copied speculatively behind them.
 * -DFLUSH_LOADS: with MAP, Flush also loads the other side's awake itself (End.witness), and
 *        does not only use what a fetch brought.
 * -DRPOLL, -DWPOLL: the reader, the writer may poll before it sleeps, as often
 *        as it likes, and then does not sleep on a "not yet". A side that never
 *        polls is never awake, and sleeps after any fetch.
 * Every other -D breaks one rule, and model_test.go asserts that this is then
 * found out.
 *
 * Memory is weaker than what Go's atomics give: every store goes through a
 * first-in first-out store buffer (x86's rules) and only the fences that the
 * rules ask for are there.
 */

#ifndef SIZE
#define SIZE 2          /* slots of the ring */
#endif
#ifndef N
#define N 4             /* items to bring across */
#endif
#define B 2             /* a piece of a word holds 0..B-1, the upper one the rest */

#define PV 0            /* writer's header: producer, */
#define PC 1            /* its complement (kept as it is: to agree is to be equal), */
#define WANT 2          /* want_space, */
#define WAWAKE 3        /* awake */
#define CV 4            /* reader's header: consumer, */
#define CC 5            /* its complement, */
#define RAWAKE 6        /* awake */
#define DATA 7          /* data pages */

byte mem[DATA + SIZE];
bit toReader, toWriter; /* pending bits of the event channels */

chan bufW = [2] of { byte, byte }; /* store buffers: word, value */
chan bufR = [2] of { byte, byte };

active proctype DrainW() { byte w, v; end: do :: d_step { bufW?w,v -> mem[w] = v } od }
active proctype DrainR() { byte w, v; end: do :: d_step { bufR?w,v -> mem[w] = v } od }

#define store(buf, word, value)  buf!word,value
#define fence(buf)               empty(buf)

/* A hypercall comes after all stores. */
inline notify(buf, pending) { fence(buf); pending = 1 }

#ifdef NO_W3FENCE
#define W3 0
#else
#define W3 1
#endif

inline publish(buf, value, complement, position) {
#ifdef COMPLEMENT_LAST
	store(buf, value, position);
	store(buf, complement, position)
#else
	store(buf, complement, position);
	store(buf, value, position)
#endif
}

/* One fetch of a word, in pieces: other processes run between the lines. */
inline fetchWord(word, x) {
#ifdef MAP
	x = mem[word]
#else
	x = mem[word] % B;
	x = x + B * (mem[word] / B)
#endif
}

inline fetchPair(value, complement) {
#ifdef COMPLEMENT_FETCHED_FIRST
	fetchWord(complement, c);
	fetchWord(value, v)
#else
	fetchWord(value, v);
	fetchWord(complement, c)
#endif
}

/* With FLUSH_LOADS the other side's awake is loaded now: End.witness. */
inline Flush(buf, pending, peerAwake) {
#ifdef FLUSH_LOADS
	if
	:: due ->
		if :: W3 -> fence(buf) :: else fi;
		if :: mem[peerAwake] -> due = 0 :: else fi
	:: else
	fi;
#endif
	if
#ifdef NO_W3
	:: due && awake -> skip         /* awake of a fetch before the store */
	:: due && !awake -> notify(buf, pending)
#else
	:: due -> notify(buf, pending)
#endif
	:: else
	fi;
	due = 0
}

inline Awake(buf, word, on) { store(buf, word, on) }

/* ---- writer ---- */

inline WFetch(fenced) {
	if :: fenced -> fence(bufW) :: else fi;
	fetchPair(CV, CC);
	awake = mem[RAWAKE];
	d_step {
		torn = (v != c);                        /* "not yet" */
		if
		:: torn
		:: else -> assert(v >= consumed && v <= produced); consumed = v
		fi;
		if :: awake -> due = 0 :: else fi;      /* W3 */
		v = 0; c = 0
#ifndef NO_W3
		; awake = 0
#endif
	}
}

inline Want(n) {
	store(bufW, WANT, n);
#ifndef NO_W1WANT
	if :: n > 0 -> due = 1 :: else fi       /* W1 */
#endif
}

inline Commit(n) {
#ifdef DATA_LATE
	publish(bufW, PV, PC, produced + n);
#endif
	k = 0;
	do
	:: k < n -> store(bufW, DATA + (produced + k) % SIZE, produced + k + 1); k++
	:: else -> break
	od;
	produced = produced + n;
#ifndef DATA_LATE
	publish(bufW, PV, PC, produced);
#endif
#ifndef NO_W1
	due = 1                                 /* W1 */
#endif
}

#ifdef NO_W4FENCE
#define W4 0
#else
#define W4 1
#endif

/* Returns after a fetch that found something to do, or after an event. */
inline WSleep() {
#ifdef WPOLL
	if
	:: true ->
		Awake(bufW, WAWAKE, 1);
		do
		:: WFetch(W3)
		:: break
		od;
#ifndef NO_W4OFF
		Awake(bufW, WAWAKE, 0);
#endif
#ifndef NO_W4FETCH
		WFetch(W4)
#endif
	:: true                                 /* this time without polling */
	fi;
#ifndef SLEEP_ON_NOT_YET
	do
	:: torn -> WFetch(W4)
	:: else -> break
	od;
#endif
	Flush(bufW, toReader, RAWAKE);
#endif
	if
	:: SIZE - (produced - consumed) >= n
	:: else -> atomic { toWriter -> toWriter = 0 }; WFetch(W3)
	fi
}

active proctype Writer() {
	byte produced, consumed, n, k, v, c;
	bit torn, due, awake;

	do
	:: produced == N -> break
	:: else ->
		n = 1;
		if
		:: produced + 1 < N -> n = 2
		:: true
		fi;
		do                                      /* Reserve */
		:: SIZE - (produced - consumed) >= n -> break
		:: else ->
			Want(n);
			if :: WFetch(W3) :: true fi;    /* it may spare the notify */
			Flush(bufW, toReader, RAWAKE);
			if
			:: SIZE - (produced - consumed) >= n
			:: else -> WSleep()
			fi
		od;
		Commit(n);
		n = 0;
		if
		:: true -> Flush(bufW, toReader, RAWAKE)
		:: true                                 /* with the next one */
		:: WFetch(W3); Flush(bufW, toReader, RAWAKE)
		fi
	od;
	Flush(bufW, toReader, RAWAKE)
}

/* ---- reader ---- */

inline grant() {
	if
	:: want > 0 && SIZE - (produced - consumer) >= want ->
		grantedWant = want;
		grantedAt = produced;
		grantedBy = consumer;
		want = 0;
		due = 1                                 /* W2 */
	:: else
	fi
}

/* w may be torn: more than the ring is the whole ring. */
inline wish() {
	want = (w > SIZE -> SIZE : w);
	if
#ifdef GRANTED_WITHOUT_CONSUMER
	:: want == grantedWant && produced == grantedAt -> want = 0
#else
	:: want == grantedWant && produced == grantedAt && consumer == grantedBy -> want = 0
#endif
	:: else
	fi;
#ifndef NO_W2FETCH
	grant()
#endif
}

/* The slot behind the fetched ones, copied before it is known to be there. */
inline speculate() {
#ifdef MAP
	skip
#else
	copied = 0;
	if
	:: fetched - consumer < SIZE -> mirror[fetched % SIZE] = mem[DATA + fetched % SIZE]; copied = 1
	:: else
	fi
#endif
}

inline RFetch(fenced) {
	if :: fenced -> fence(bufR) :: else fi;
#ifdef DATA_BEFORE_HEADER
	speculate();
#endif
	fetchPair(PV, PC);
	fetchWord(WANT, w);
	awake = mem[WAWAKE];
#ifndef DATA_BEFORE_HEADER
	speculate();
#endif
	d_step {
		torn = (v != c);                        /* "not yet" */
		if
		:: torn
		:: else -> assert(v >= produced && v - consumer <= SIZE); produced = v
		fi;
#ifdef MAP
		fetched = produced;
#else
		if :: copied && fetched < produced -> fetched++ :: else fi;
		copied = 0;
#endif
		wish();
		if :: awake -> due = 0 :: else fi;      /* W3 */
		v = 0; c = 0; w = 0
#ifndef NO_W3
		; awake = 0
#endif
	}
}

/* Copies what the fetch did not bring. */
inline Peek() {
#ifdef MAP
	skip
#else
	if
	:: fetched == consumer && fetched < produced ->
		mirror[fetched % SIZE] = mem[DATA + fetched % SIZE];
		fetched++
	:: else
	fi
#endif
}

#ifdef MAP
#define slot(i) mem[DATA + (i) % SIZE]
#else
#define slot(i) mirror[(i) % SIZE]
#endif

inline Discard() {
#ifdef DISCARD_EARLY
	publish(bufR, CV, CC, consumer + 1);
#endif
	assert(slot(consumer) == consumer + 1);         /* in order, whole */
	consumer++;
#ifndef DISCARD_EARLY
	publish(bufR, CV, CC, consumer);
#endif
#ifndef NO_W2DISCARD
	d_step { grant() }
#endif
}

inline RSleep() {
#ifdef RPOLL
	if
	:: true ->
		Awake(bufR, RAWAKE, 1);
		do
		:: RFetch(W3)
		:: break
		od;
#ifndef NO_W4OFF
		Awake(bufR, RAWAKE, 0);
#endif
#ifndef NO_W4FETCH
		RFetch(W4)
#endif
	:: true                                 /* this time without polling */
	fi;
#ifndef SLEEP_ON_NOT_YET
	do
	:: torn -> RFetch(W4)
	:: else -> break
	od;
#endif
	Flush(bufR, toWriter, WAWAKE);
#endif
	if
	:: consumer != produced
	:: else -> atomic { toReader -> toReader = 0 }; RFetch(W3)
	fi
}

active proctype Reader() {
	byte produced, fetched, consumer, want, grantedWant, grantedAt, grantedBy, v, c, w;
	bit torn, due, awake;
#ifndef MAP
	bit copied;
	byte mirror[SIZE];
#endif

	do
	:: consumer == N -> break
	:: else ->
		RSleep();
		do
		:: consumer < produced -> Peek(); Discard()
		:: consumer == produced -> break
		:: due -> RFetch(W3)                    /* it may spare the notify */
		od;
		Flush(bufR, toWriter, WAWAKE)
	od;
	assert(produced == N)
}
