/*
 * What the manager does about one pair, and the front links of both. A part of
 * handshake.pml.
 */

inline peer(c, a) {
	if
	:: front[c] ->
		unconfirmed[c]++;
		allowed[c] = a;
		if :: a -> forbidden[c] = 0 :: else fi;
		send(toClient[c], PEER, a, 0)
	:: else
	fi
}

/* The link that c claims is not known to the other one. */
inline disown(c) {
	assert(theirs[c] == 0 || theirs[c] != offer[other] || theirs[other] != offer[c]);
	claim[c] = 0;
	peer(c, 0)
}

/* A link that one of them claims and the other does not is ended. */
inline judge(c) {
	if
#ifndef NO_CLAIMS
	:: greeted[other] && claim[c] != claim[other] ->
		if
		:: claim[other] != 0 -> disown(other); if :: policy -> peer(other, 1) :: else fi
		:: else
		fi;
		if
		:: claim[c] != 0 -> disown(c); if :: policy -> peer(c, 1) :: else fi
		:: else
		fi
#endif
	:: else
	fi
}

inline greet(c, g, first) {
	claim[c] = g;
	if
	:: first ->
		greeted[c] = 1;
		if :: policy -> peer(c, 1) :: else fi;
		judge(c);
		tell(c, HELLO, 0, 0)
	:: else ->
#ifdef JUDGE_ALWAYS
		judge(c)
#else
		skip
#endif
	fi
}

/* What is indicated will not be waited for any longer. */
inline expire() {
#ifndef FORGET_EXPIRED
	expired[1 - initiator] = expired[1 - initiator] | (1 << request);
#endif
	pair = quiet
}

inline frontEnded(c) {
	managerSees[c] = 0;
	greeted[c] = 0;
	claim[c] = 0;
	unconfirmed[c] = 0;
	forbidden[c] = 0;
	if
	:: pair == indicated && initiator != c -> tell(other, RSP, request, FAILED)
	:: pair == indicated && initiator == c -> expire()
	:: else
	fi;
	pair = quiet;
	expired[c] = 0
}

inline requested(c, g, x) {
#ifdef NO_SERIAL
	if
#else
	assert(pair != indicated || initiator != c);    /* or an honest client is broken */
	if
	:: pair == indicated -> tell(c, RSP, g, CROSSED)
#endif
	:: else ->
		if
		:: policy && greeted[other] -> decided = 1; asker = c; wanted = g; wantedOffer = x
		:: else -> tell(c, RSP, g, FAILED)
		fi
	fi
}

/* Policy may have changed since. */
inline indicate(c) {
	decided = 0;
#ifdef NO_SECOND_LOOK
	if :: true ->
#else
	if
	:: !policy -> tell(c, RSP, wanted, FAILED)
	:: else ->
#endif
		assert(policy);
		assert(pair == quiet);                  /* or two are pending */
		pair = indicated;
		initiator = c;
		request = wanted;
		tell(other, IND, wanted, wantedOffer)
	fi;
	wanted = 0;
	wantedOffer = 0
}

#define fromResponder   (initiator != c)
#define idMatches       (request == g)
#ifdef NO_ID_CHECK
#undef idMatches
#define idMatches 1
#endif
#ifdef NO_SENDER_CHECK
#undef fromResponder
#define fromResponder 1
#endif

inline acknowledged(c, g, x) {
	if
	:: pair == indicated && fromResponder && idMatches ->
		assert(x != FORGED);                    /* or it makes a link */
		if
#ifdef NO_THIRD_LOOK
		:: x != FAILED ->
#else
		:: x != FAILED && policy ->
#endif
			assert(policy);
			claim[0] = g;
			claim[1] = g;
			tell(initiator, RSP, request, x)
		:: else -> tell(initiator, RSP, request, FAILED)
		fi;
		pair = quiet
	:: else ->
		if
		:: x != FORGED && expired[c] & (1 << g) ->
#ifdef LATE_ACK_COUNTS
			tell(other, RSP, g, x);
#endif
			expired[c] = expired[c] & ~(1 << g)
		:: else ->
			assert(x == FORGED);            /* or an honest client is broken */
			cut(c)
		fi
	fi
}

inline confirmed(c) {
	assert(unconfirmed[c] > 0);
	unconfirmed[c]--;
	if
	:: unconfirmed[c] == 0 && !allowed[c] ->
		assert(state[c] == idle);
		forbidden[c] = 1
	:: else
	fi
}

/* The manager's side of one front link. */
proctype Manager(bit c) {
	byte g, x;
	mtype what;

end:	do
	:: atomic { decided && asker == c -> indicate(c) }
	:: atomic { !decided && managerSees[c] -> frontEnded(c) }
	:: atomic { !decided && nempty(toManager[c]) ->
		toManager[c]?what,g,x;
		if
		:: what == HELLO -> greet(c, g, x)
		:: what == PEER_ACK -> confirmed(c)
		:: what == REQ -> requested(c, g, x)
		:: what == ACK -> acknowledged(c, g, x)
		fi;
		what = 0; g = 0; x = 0
	   }
#if !defined(PROMPT) && !defined(NO_ACK_TIMER)
	:: atomic { !decided && pair == indicated && initiator == c ->
		tell(c, RSP, request, FAILED);
		expire()
	   }
#endif
	od
}
