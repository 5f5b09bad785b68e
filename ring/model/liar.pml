/*
 * One End of package ring and a peer that lies. The peer can write any value
 * into any word of its header at any time, between two fetches of the same word
 * too, so a fetch brings anything at all: each is a free choice here, made anew.
 * Its copies fail when it likes, and it notifies or does not.
 *
 *   here                  Go
 *   Fetch                 End.Fetch, End.take (fetch.go)
 *   check                 fetched.check (position.go)
 *   Peek, Discard         consumer.go
 *   Reserve, Commit       producer.go
 *   broken                End.dead: ErrGone, a *LieError or a failed copy
 *
 * Checked: no slot is fetched or read that lies outside consumer .. consumer +
 * SIZE; what we believe of the peer stays within what an honest one could say
 * and never goes back; a broken End publishes nothing. An End that sleeps for
 * ever because its peer is silent is right, so sleeping is a valid end; every
 * other halt is an error.
 *
 * Positions are bytes and wrap as the u64 of Go do, so "backwards" is a huge
 * step forwards here too. A word's complement is the word itself: to agree is to
 * be equal. Every -D breaks one rule, and model_test.go asserts that this is
 * then found out.
 */

#define SIZE 2
#define LAST 3          /* we send and take so many, then stop */

#define diff(a, b) (((a) - (b)) & 255)

/* Values around every limit, and far off. */
inline any(word) {
	if
	:: word = 0 :: word = 1 :: word = 2 :: word = 3 :: word = 4
	:: word = 5 :: word = 6 :: word = 128 :: word = 255
	fi
}

inline anyPair(value, complement) {
	any(value);
	if :: complement = value :: any(complement) fi
}

/* moved: how far beyond known. A pair that disagrees is "not yet". */
inline check(value, complement, known, limit) {
	moved = 0;
	if
#ifdef TORN_ACCEPTED
	:: true ->
		moved = diff((value & 1) | (complement & 254), known);
		if :: value != complement -> torn = 1 :: else fi;
#else
	:: value == complement ->
		moved = diff(value, known);
#endif
		if
#ifdef NO_LIMIT
		:: moved > limit && moved >= 128 -> broken = 1
#endif
#ifdef NO_BACKWARDS
		:: moved > limit && moved < 128 -> broken = 1
#endif
#if !defined(NO_LIMIT) && !defined(NO_BACKWARDS)
		:: moved > limit -> broken = 1
#endif
		:: else
		fi
	:: else
	fi
}

active proctype End() {
	byte consumer, fetched, produced;       /* receive side, private */
	byte sent, consumed;                    /* send side, private */
	byte known, v, c, moved;
	byte want;
	bit broken, torn;

	do
	:: broken || (consumer == LAST && sent == LAST) -> break
	:: else ->

Fetch:
		if
		:: true
		:: broken = 1; goto dead        /* state 0, state garbage, Copy failed */
		fi;
		/* speculation copies fetched .. consumer + SIZE at most */
		assert(diff(fetched, consumer) <= SIZE);
#ifdef OWN_FROM_SHARED
		any(consumer);                  /* our word, as the peer left it */
#endif
		anyPair(v, c);
		d_step { known = produced; check(v, c, produced, SIZE - diff(produced, consumer)) };
		if :: broken -> goto dead :: else fi;
#ifdef FETCHED_TWICE
		any(v);                         /* the producer once more, after the check */
		moved = diff(v, produced);
#endif
		produced = (known + moved) & 255;
		assert(!torn && moved <= SIZE && diff(produced, consumer) <= SIZE);
		anyPair(v, c);
		d_step { known = consumed; check(v, c, consumed, diff(sent, consumed)) };
#ifdef NO_DEAD
		if :: broken -> moved = 0 :: else fi;
#else
		if :: broken -> goto dead :: else fi;
#endif
		consumed = (known + moved) & 255;
		assert(!torn && moved <= SIZE && diff(sent, consumed) <= SIZE);
		any(want);
		want = (want > SIZE -> SIZE : want);
		v = 0; c = 0; moved = 0; known = 0;

Peek:
		do
		:: fetched != produced ->
			assert(diff(fetched, consumer) < SIZE);         /* nothing unread under it */
			fetched++;
			if :: true :: broken = 1; goto dead fi          /* Copy failed */
		:: else -> break
		od;

Discard:
		do
		:: consumer != fetched && consumer < LAST ->
			consumer++;
			assert(!broken);
			if :: want > 0 && SIZE - diff(produced, consumer) >= want -> want = 0 :: else fi
		:: true -> break
		od;
		want = 0;

Reserve:
		if
		:: sent < LAST && diff(sent, consumed) < SIZE ->
Commit:			sent++;
			assert(!broken)
		:: true
		fi;

Sleep:
		if
		:: true                         /* it polls, or was notified */
		:: true ->
end:			false                   /* the peer is silent for ever */
		fi
	od;
dead:	skip
}
