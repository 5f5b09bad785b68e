/*
 * One End of package ring and a peer that lies: it writes any value into any
 * word of its own header at any time, between two fetches of the same word too,
 * makes copies fail, notifies or does not.
 *
 *   here                  Go
 *   Fetch                 End.Fetch, End.take (fetch.go)
 *   check                 fetched.check (position.go)
 *   Peek, Discard         consumer.go
 *   Reserve, Commit       producer.go
 *   broken                End.dead: ErrGone, a *LieError or a failed copy
 *
 * Checked: no slot is read that the ring does not have or that is not between
 * consumer and consumer + SIZE; what we believe of the peer stays within what an
 * honest one could say and never goes back; a broken End publishes nothing. An
 * End that sleeps for ever because its peer is silent is right, so sleeping is
 * a valid end; every other halt is an error.
 *
 * Positions are bytes and wrap as the u64 of Go do, so that "backwards" is a
 * huge step forwards here too. A word's complement is the word itself: to agree
 * is to be equal.
 */

#define SIZE 2
#define LAST 3          /* we send and take so many, then stop */

byte producer, producerC, consumer, consumerC;  /* the liar's header */
byte own;               /* our consumer in our own header: the liar scribbles there too */
byte state = 1, want;
bit awake, event;
bit broken, over;

#define diff(a, b) (((a) - (b)) & 255)

/* Any of the values around every limit, and far off. */
inline any(word) {
	if
	:: word = 0 :: word = 1 :: word = 2 :: word = 3 :: word = 4
	:: word = 5 :: word = 6 :: word = 128 :: word = 255
	fi
}

active proctype Liar() {
end:	do
	:: over -> break
	:: !over ->
		if
		:: any(producer); if :: producerC = producer :: true fi
		:: any(consumer); if :: consumerC = consumer :: true fi
		:: producerC = producer
		:: consumerC = consumer
		:: if :: state = 0 :: state = 1 :: state = 7 fi
		:: if :: want = 0 :: want = 1 :: want = 200 fi
		:: awake = !awake
		:: own = own + 1
		:: event = 1
		fi
	od
}

/* moved: how far beyond known; settled: the pair agreed. */
inline check(value, complement, known, limit) {
	settled = (value == complement);
	moved = 0;
	if
	:: settled ->
		moved = diff(value, known);
#ifdef NO_LIMIT
		skip
#else
#ifdef NO_BACKWARDS
		if
		:: moved > limit && moved < 128 -> broken = 1
		:: else
		fi
#else
		if
		:: moved > limit -> broken = 1
		:: else
		fi
#endif
#endif
	:: else
	fi
}

active proctype End() {
	byte cons, fetched, produced;   /* receive side, private */
	byte sent, consumed;            /* send side, private */
	byte p, pc, c, cc, w, s, moved, space, wanted;
	bit settled, a, due;

	do
	:: broken -> break
	:: cons >= LAST && sent >= LAST -> break
	:: else ->
Fetch:
		if :: true :: broken = 1; goto dead fi;         /* Copy failed */
		s = state; p = producer; pc = producerC; c = consumer; cc = consumerC; w = want; a = awake;
		assert(diff(fetched, cons) <= SIZE);
		/* speculative bytes: fetched .. consumer + SIZE, whatever the peer says */
		if
		:: s != 1 -> broken = 1
		:: else
		fi;
#ifdef NO_CONSUMER_IN_PRIVATE
		cons = own;
#endif
		d_step {
			check(p, pc, produced, diff(SIZE, diff(produced, cons)));
			space = moved
		};
#ifdef FETCHED_TWICE
		if
		:: settled -> space = diff(producer, produced)  /* the word again, after the check */
		:: else
		fi;
#endif
		if :: broken -> goto dead :: else fi;
		d_step {
			check(c, cc, consumed, diff(sent, consumed))
		};
#ifndef NO_DEAD
		if :: broken -> goto dead :: else fi;
#endif
		d_step {
			produced = (produced + space) & 255;
			consumed = (consumed + moved) & 255;
			assert(space < 128 && moved < 128);                     /* never back */
			assert(diff(produced, cons) <= SIZE);
			assert(diff(sent, consumed) <= SIZE);
			wanted = (w > SIZE -> SIZE : w);
			if :: a -> due = 0 :: else fi;
			p = 0; pc = 0; c = 0; cc = 0; w = 0; a = 0; s = 0; space = 0; moved = 0; settled = 0
		};
Peek:
		if :: fetched != produced && broken == 0 ->
			if :: true :: broken = 1; goto dead fi          /* Copy failed */
		   :: else
		fi;
		do
		:: fetched != produced ->
			assert(diff(fetched, cons) < SIZE);             /* in the ring, nothing unread under it */
			fetched = (fetched + 1) & 255
		:: else -> break
		od;
Discard:
		do
		:: cons != fetched && cons < LAST ->
			cons++;
			assert(!broken);
			own = cons;
			if :: wanted && SIZE - diff(produced, cons) >= wanted -> due = 1; wanted = 0 :: else fi
		:: true -> break
		od;
Reserve:
		if
		:: sent < LAST && diff(sent, consumed) < SIZE ->
Commit:			sent++;
			assert(!broken);
			due = 1
		:: true
		fi;
Flush:
		due = 0;
Sleep:
		if
		:: true                                                 /* polls */
		:: true ->
end:			atomic { event -> event = 0 }
		fi
	od;
dead:	over = 1
}
