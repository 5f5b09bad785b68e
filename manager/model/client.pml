/*
 * What a client does about one peer. A part of handshake.pml.
 */

inline make(c) {
	assert(offer[c] == 0);
	offers[c]++;
	offer[c] = 2 * offers[c] + c;
	generation[c] = offer[c]
}

inline release(c) {
	offer[c] = 0;
	generation[c] = 0;
	bound[c] = 0;
	theirs[c] = 0
}

/* To idle, from anywhere. */
inline drop(c) {
	if
	:: state[c] == accepting || state[c] == up -> news[c] = 1
	:: else
	fi;
	state[c] = idle;
	release(c)
}

/* Bind takes time: first their header is read, then their port is bound, which
 * tells them. Others do things in between; this client handles nothing else.
 */
inline bind(c, what, g, x) {
	binding[c] = what;
	bindGeneration[c] = g;
	bindOffer[c] = x
}

#ifdef RELEASE_LATE
#define offered(c, x)           (offer[c] == x || old[c] == x)
#define offeredAs(c, x, g)      (offer[c] == x && generation[c] == g || old[c] == x && x == g)
#else
#define offered(c, x)           (offer[c] == x)
#define offeredAs(c, x, g)      (offer[c] == x && generation[c] == g)
#endif

inline bindHeader(c) {
	if
	:: offeredAs(other, bindOffer[c], bindGeneration[c]) -> bindStep[c] = 1
	:: else -> bindFailed(c)
	fi
}

inline bindPort(c) {
	if
	:: offered(other, bindOffer[c]) && (offer[other] != bindOffer[c] || bound[other] == 0) ->
		theirs[c] = bindOffer[c];
		if :: offer[other] == bindOffer[c] -> bound[other] = offer[c] :: else fi;
		state[c] = accepting;
#ifdef ADOPT_LATE
		bindStep[c] = 2
#else
		bindDone(c)
#endif
	:: else -> bindFailed(c)
	fi
}

inline bindDone(c) {
	if
	:: binding[c] == IND ->
#ifdef ADOPT_LATE
		generation[c] = bindGeneration[c];
#endif
		answered[c] = bindGeneration[c];
		sendIfUp(c, ACK, bindGeneration[c], offer[c])
	:: else
	fi;
	bindEnded(c)
}

inline bindFailed(c) {
	drop(c);
	if
	:: binding[c] == IND -> sendIfUp(c, ACK, bindGeneration[c], FAILED)
#ifndef SILENT_FAILURE
	:: binding[c] == RSP -> news[c] = 1     /* the manager believes that there is a link */
#endif
	:: else
	fi;
	bindEnded(c)
}

inline bindEnded(c) {
	binding[c] = 0;
	bindStep[c] = 0;
	bindGeneration[c] = 0;
	bindOffer[c] = 0
}

/* What HELLO says: all that was agreed on, though it may not be up yet. */
#ifdef HELLO_WITHOUT_ACCEPTING
#define claims(c) (state[c] == up -> generation[c] : 0)
#else
#define claims(c) (state[c] == accepting || state[c] == up -> generation[c] : 0)
#endif

/* An offer takes the generation of theirs before anything of theirs is bound. An
 * accept that has not come to be a link, or a link, makes room for the new one: the
 * initiator has none.
 */
inline indication(c, g, x) {
	if
	:: !record[c] -> send(toManager[c], ACK, g, FAILED)
#ifdef MUTE
	:: record[c] && may -> strikes++; muted = 1
#endif
#ifdef FAULT
	:: record[c] && may -> strikes++; drop(c); send(toManager[c], ACK, g, FAILED)
#endif
#ifdef NO_CROSS_ANSWER
	:: record[c] && state[c] == offering -> send(toManager[c], ACK, g, FAILED)
	:: record[c] && state[c] != offering ->
#else
	:: record[c] ->
#endif
		if
		:: state[c] == offering                 /* crossing: the offer that we have */
		:: else -> drop(c); make(c); state[c] = offering
		fi;
#if !defined(NO_ADOPT) && !defined(ADOPT_LATE)
		generation[c] = g;
#endif
		bind(c, IND, g, x)
	fi
}

/* The end of our request, whatever has become of our offer. */
inline response(c, g, x) {
	assert(asked[c]);
	asked[c] = 0;
	assert(x == FAILED || x == CROSSED || answered[other] == g);
	if
	:: state[c] == offering && generation[c] == g ->
#ifndef NO_CROSS_ANSWER
		assert(x != CROSSED || muted);          /* the IND came before it */
#endif
		if
#ifdef NO_RELEASE
		:: x == FAILED -> state[c] = idle
#elif defined(RELEASE_LATE)
		:: x == FAILED && old[c] == 0 -> old[c] = offer[c]; drop(c)
#else
		:: x == FAILED || x == CROSSED -> drop(c)
#endif
#ifdef FAULT
		:: x != FAILED && x != CROSSED && may -> strikes++; drop(c); news[c] = 1
#endif
		:: x != FAILED && x != CROSSED -> bind(c, RSP, g, x)
		fi
	:: else ->
		/* Our offer was withdrawn, or has answered an IND. */
		assert(x == FAILED || x == CROSSED || state[c] == idle);
		if
#ifndef SILENT_FAILURE
		:: x != FAILED && x != CROSSED -> news[c] = 1
#endif
		:: else
		fi
#ifdef CROSSED_IS_REFUSED
		; if :: x == CROSSED -> drop(c) :: else fi
#endif
	fi
}

inline hello(c, first) {
	news[c] = 0;
	a = claims(c);
	send(toManager[c], HELLO, a, first);
	a = 0
}

/* A request that is out stays out: its RSP will come. */
inline revoke(c) {
	record[c] = 0;
#ifdef NO_WITHDRAW
	if :: state[c] == accepting || state[c] == up -> drop(c) :: else fi
#else
	drop(c)
#endif
#ifdef FORGET_REQUEST
	; asked[c] = 0
#endif
}

#ifdef EAGER
#define mayAsk(c) 1
#else
#define mayAsk(c) (!news[c])
#endif

proctype Client(bit c) {
	byte a, b;
	mtype what;

end:	do
	:: atomic { binding[c] != 0 && bindStep[c] == 0 -> bindHeader(c) }
	:: atomic { binding[c] != 0 && bindStep[c] == 1 -> bindPort(c) }
#ifdef ADOPT_LATE
	:: atomic { binding[c] != 0 && bindStep[c] == 2 -> bindDone(c) }
#endif

	/* the front link */
	:: atomic { !front[c] && !managerSees[c] && !clientSees[c] && binding[c] == 0 ->
		front[c] = 1;
		retold[c] = 0;
		hello(c, 1)
	   }
	:: atomic { clientSees[c] && binding[c] == 0 ->
		clientSees[c] = 0;
		asked[c] = 0;
		if
#ifndef NO_RELEASE_AT_END
		:: state[c] == offering -> drop(c)
#endif
#ifdef LINK_ENDS_WITH_FRONT
		:: state[c] == up -> drop(c)
#endif
		:: else
		fi
	   }
	/* The manager may be about to enter a link that we asked for. */
#ifdef HELLO_WHILE_ASKED
	:: atomic { front[c] && news[c] && binding[c] == 0 -> hello(c, 0) }
#else
	:: atomic { front[c] && news[c] && binding[c] == 0 && !asked[c] -> hello(c, 0) }
#endif

	/* what we begin, and what happens to a link */
	:: atomic { front[c] && record[c] && state[c] == idle && !asked[c] && asks[c] < ASKS && mayAsk(c) ->
		asks[c]++;
		make(c);
		state[c] = offering;
		asked[c] = 1;
		send(toManager[c], REQ, generation[c], offer[c])
	   }
	:: atomic { binding[c] == 0 && state[c] == accepting && bound[c] != 0 ->
		assert(bound[c] == theirs[c]);
		assert(!forbidden[c]);
		state[c] = up;
		wasUp = wasUp || state[other] == up
	   }
#ifndef NO_ACCEPT_TIMER
#ifdef PROMPT
	:: atomic { state[c] == accepting && bound[c] == 0 && offer[other] != theirs[c] -> drop(c) }
#else
	:: atomic { state[c] == accepting && bound[c] == 0 -> drop(c) }
#endif
#endif
#ifndef NO_NOTICE
	:: atomic { state[c] == up && offer[other] != theirs[c] -> drop(c) }
#endif
#ifdef RELEASE_LATE
	:: atomic { old[c] != 0 -> old[c] = 0 }
#endif

	/* messages */
	:: atomic { binding[c] == 0 && nempty(toClient[c]) ->
		toClient[c]?what,a,b;
		if
		:: what == IND -> indication(c, a, b)
		:: what == RSP -> response(c, a, b)
#ifdef ACK_BEFORE_END
		:: what == PEER && !a -> send(toManager[c], PEER_ACK, 0, 0); ending[c] = 1
#else
		:: what == PEER && !a -> revoke(c); send(toManager[c], PEER_ACK, 0, 0)
#endif
		:: what == PEER && a -> record[c] = 1; retold[c] = 1; send(toManager[c], PEER_ACK, 0, 0)
#ifndef NO_RETOLD
		:: what == HELLO && !retold[c] -> revoke(c)
#endif
		:: else
		fi;
		what = 0; a = 0; b = 0
	   }
#ifdef ACK_BEFORE_END
	:: atomic { ending[c] -> ending[c] = 0; revoke(c) }
#endif
	od
}
