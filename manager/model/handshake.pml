/*
 * How two domains come to a link by way of the manager (port 1). Two clients, 0
 * and 1, each of which may ask for a link to the other, a manager between them,
 * and a fate that ends things. All are honest; they may be slow, and die.
 *
 *   here                  Go
 *   Client                package client: what it has of one peer
 *   Manager               package manager: what it has of one pair
 *   bind                  link.Offer.Bind: fails if their offer is not there
 *   bound                 the event of link.Offer.Link: they have bound ours
 *
 * A client and its peer:
 *
 *            a Dial: REQ                    IND: ACK
 *      idle ------------> offering        idle -----> accepting
 *                            | IND: adopt, ACK            |
 *                            | RSP OK                     | bound
 *                            v                            v
 *                        accepting ------------------->  up
 *
 *      from each of them to idle, and the offer is released: a refusal, an end of
 *      the front link (offering), no event in time (accepting), a PEER that
 *      forbids, a link that ends. asked: a request is out and no RSP has come;
 *      it outlives the offer.
 *
 * The manager and the pair:
 *
 *                 REQ: IND
 *      quiet ------------------> indicated
 *        ^                           |
 *        +---------------------------+
 *          ACK: RSP.  No ACK in time: RSP, expired.  The responder's front
 *          link ends: RSP.  The initiator's front link ends: expired.
 *
 *      expired: the id is remembered, so that its late ACK is dropped; an ACK with
 *      any other id is forged, and breaks the front link that it came over.
 *
 * An offer has a number of its own and a generation: the number of the
 * initiator's offer. A generation stands for the id of the request, and of the
 * CONNECT_ind, which in truth has another.
 *
 * Checked on the way: the manager never has two requests of a pair pending, and
 * never finds an honest client broken; it sends IND and RSP OK only while policy
 * allows it; an RSP OK is the responder's own answer, never a forged or late one; a
 * link comes up between two offers that have bound each other, and not at an end
 * that has confirmed that it is forbidden; a link that both ends have is never
 * ended for being claimed by one.
 * Checked when nothing more can happen: no request and no indication is open, no
 * offer is left but those of a link, a link is up at both ends or none, and if it
 * is then policy allows it, and the manager's books say so.
 *
 * One attachment each: a domain that is attached anew is another one to policy, and
 * to its peers first a PEER that says gone. CONNECT_req is decided and CONNECT_ind
 * sent in two steps, between which only fate acts: policy is read elsewhere.
 *
 * Timers go off at any time at all. How often fate strikes, and how, the names
 * just below say, and
 *
 *   PROMPT        no timer goes off while there is any hope
 *   NO_NOTICE     nobody notices that the other end of a link is gone
 *   EAGER         a client asks though it has a HELLO to send
 *   JUDGE_ALWAYS  claims are judged at every HELLO, not at the first one alone
 *   LINKED        in the end there is a link; STAYS: if there ever was one
 *
 * Every other name breaks one rule, and model_test.go asserts that this is then
 * found out.
 */

#ifndef ASKS
#define ASKS 1          /* requests of one client */
#endif
#ifndef STRIKES
#define STRIKES 0       /* of fate: each one of these, or with ONLY of those named */
#endif
#ifndef ONLY
#define CUT 1           /* a front link ends */
#define DEATH 1         /* a client's process dies */
#define RESTART 1       /* the manager dies */
#define FLIP 1          /* policy changes */
#define CLOSE 1         /* a link is closed for idleness */
#define OTHER 1         /* a client's links to others change */
#define FAULT 1         /* an offer cannot be made, or bound */
#define MUTE 1          /* an indication is never answered */
#define FORGE 1         /* an answer has an id of another domain's */
#endif

mtype = {
	idle, offering, accepting, up,          /* a client */
	quiet, indicated,                       /* the manager */
	HELLO, PEER, PEER_ACK, REQ, IND, ACK, RSP
};

#define FAILED 0        /* what an ACK or RSP has instead of an offer */
#define CROSSED 255
#define FORGED 254

#define other (1 - c)
#define may (strikes < STRIKES)

/* ---- front links ---- */

/* The two numbers are
 *   HELLO      the generation claimed, 1 if it is the first; or the manager's: 0, 0
 *   PEER       1 if allowed
 *   REQ, IND   the initiator's generation and offer
 *   ACK, RSP   the generation of what it answers, the responder's offer
 */
chan toManager[2] = [9] of { mtype, byte, byte };
chan toClient[2] = [9] of { mtype, byte, byte };
bit front[2];           /* the front link is up; while it is not, */
bit managerSees[2];     /* the manager must still see that it ended, */
bit clientSees[2];      /* and the client */

/* ---- clients ---- */

mtype state[2] = idle;
bit asked[2];
byte asks[2];
byte offers[2];         /* made so far */
byte offer[2];          /* the one there is, or 0 */
byte generation[2];     /* in its header */
byte bound[2];          /* their offer, that has bound ours */
byte theirs[2];         /* their offer, that ours has bound */
bit record[2];          /* the PEER that we have of it allows it */
bit retold[2];          /* in this conversation */
bit news[2];            /* the links have changed: HELLO is due */
mtype binding[2];       /* in the middle of Bind, for this message: */
byte bindGeneration[2];
byte bindOffer[2];
byte bindStep[2];
byte answered[2];       /* the generation of the last ACK that is OK */
#ifdef RELEASE_LATE
byte old[2];            /* an offer that is refused and still there */
#endif
#ifdef ACK_BEFORE_END
bit ending[2];
#endif

/* ---- manager ---- */

mtype pair = quiet;
bit initiator;
byte request;           /* its generation */
short expired[2];       /* bits: requests whose ACK the client still owes */
bit decided;            /* a request is allowed, and not yet indicated: */
bit asker;
byte wanted;
byte wantedOffer;
bit greeted[2];
byte claim[2];          /* the generation of the link, as the client says */
bit policy = 1;
byte unconfirmed[2];    /* PEERs without PEER_ack */
bit allowed[2];         /* said the last of them */
bit forbidden[2];       /* it is confirmed that no link is there */

byte strikes;
bit muted;              /* an indication was not answered */
bit wasUp;              /* at both ends */

inline send(to, type, one, two) {
	assert(nfull(to));
	to!type,one,two
}

inline sendIfUp(c, type, one, two) {
	if
	:: front[c] -> send(toManager[c], type, one, two)
	:: else
	fi
}

inline tell(c, what, a, b) {
	if
	:: front[c] -> send(toClient[c], what, a, b)
	:: else
	fi
}

/* Fate's, for either side or both. */
inline cut(c) {
	front[c] = 0;
	managerSees[c] = 1;
	clientSees[c] = 1;
	do :: toManager[c]?_,_,_ :: empty(toManager[c]) -> break od;
	do :: toClient[c]?_,_,_ :: empty(toClient[c]) -> break od
}

#include "client.pml"
#include "manager.pml"

/* ---- fate ---- */

inline die(c) {
	if :: front[c] -> cut(c) :: else fi;
	clientSees[c] = 0;
	asked[c] = 0;
	drop(c);
	bindEnded(c);
	news[c] = 0;
	record[c] = 0
}

inline managerDies() {
	if :: front[0] -> cut(0) :: else fi;
	if :: front[1] -> cut(1) :: else fi;
	decided = 0; wanted = 0; wantedOffer = 0;
	frontEnded(0);
	frontEnded(1);
	pair = quiet
}

inline flip() {
	policy = 1 - policy;
	if :: greeted[0] -> peer(0, policy) :: else fi;
	if :: greeted[1] -> peer(1, policy) :: else fi
}

/* An answer of c's to what it was not asked. */
inline forge(c, g) {
	send(toManager[c], ACK, g, FORGED)
}

proctype Fate() {
end:	do
#ifdef CUT
	:: atomic { may && front[0] -> strikes++; cut(0) }
	:: atomic { may && front[1] -> strikes++; cut(1) }
#endif
#ifdef DEATH
	:: atomic { may -> strikes++; die(0) }
	:: atomic { may -> strikes++; die(1) }
#endif
#ifdef RESTART
	:: atomic { may -> strikes++; managerDies() }
#endif
#ifdef FLIP
	:: atomic { may -> strikes++; flip() }
#endif
#ifdef CLOSE
	:: atomic { may && state[0] == up -> strikes++; drop(0) }
	:: atomic { may && state[1] == up -> strikes++; drop(1) }
#endif
#ifdef OTHER
	:: atomic { may && !news[0] -> strikes++; news[0] = 1 }
	:: atomic { may && !news[1] -> strikes++; news[1] = 1 }
#endif
#ifdef FORGE
	:: atomic { may && pair != quiet && front[0] && front[1] ->
		strikes++;
		if
		:: forge(initiator, request)            /* as if it were the responder */
		:: forge(1 - initiator, request + 1)    /* some other id */
		fi
	   }
#endif
	:: atomic { may -> strikes = STRIKES }          /* enough */
	od
}

/* Nothing can happen any more. */
proctype End() {
	timeout ->
	assert(front[0] && front[1] && greeted[0] && greeted[1]);
	assert(!asked[0] && !asked[1]);
	assert(pair == quiet);
	assert(record[0] == policy && record[1] == policy);
	assert(state[0] == up && state[1] == up || state[0] == idle && state[1] == idle);
	if
	:: state[0] == up ->
		assert(policy && theirs[0] == offer[1] && theirs[1] == offer[0]);
		assert(claim[0] == generation[0] && claim[1] == generation[1])
	:: else ->
		assert(offer[0] == 0 && offer[1] == 0);
		assert(claim[0] == 0 && claim[1] == 0)
	fi
#ifdef LINKED
	; assert(state[0] == up)
#endif
#ifdef STAYS
	; assert(!wasUp || state[0] == up)
#endif
}

init {
	atomic { run Client(0); run Client(1); run Manager(0); run Manager(1); run Fate(); run End() }
}
