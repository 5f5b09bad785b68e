// Package ring is the byte rings between two domains: two rings, one a
// direction, with the words that steer them, and the rules by which each end
// wakes the other.
//
// An End is one side of a link. It works on byte slices and a Copier and knows
// nothing of Xen: pages of this domain and mapped pages of the other one are
// slices, everything else is reached by copy.
//
//	e, err := ring.New(ring.Config{Header: page, ...})
//	for {
//		news, err := e.Fetch()      // what did the other side publish?
//		a, b, err := e.Peek(32)     // received bytes, at most two pieces
//		e.Discard(n)                // done with
//		a, b = e.Reserve(n)         // room to send
//		err = e.Commit(n)           // published
//		err = e.Flush()             // the other side is woken if it must be
//	}
//
// # Trust
//
// The other side is hostile. It owns its header page and can change every byte
// of it, and of its data pages, at any time. So our own positions live in
// private memory and the shared copy of them is only ever written; every word of
// the other side is fetched once into a local and then checked; and what fails
// the check ends this End with a *LieError and touches nothing else. Received
// data is not checked here: in pages that are read in place it may change
// while it is read.
//
// # Wake-ups
//
//   - W1: after moving the producer (Commit) or setting want_space (Want), notify.
//   - W2: a reader that fetched a want_space notifies as soon as that much is
//     free: at that Fetch if it already is, else when its consumer moves so far: at the
//     Discard, or at the Peek of what was copied.
//   - W3: a notify may be left out only if a header fetched after the store
//     showed awake = 1. Flush decides that.
//   - W4: awake is 1 only while its owner polls. To sleep: Awake(false), then
//     Fetch until one brings no news, then Flush, then sleep.
//
// News is also a word caught in the middle of a change, so W4's last Fetch is
// never one of those. A side that never says Awake(true) may sleep after any
// Fetch, once it has used what that brought and called Flush: every later store
// of the other side comes with a notify, so that one Fetch a wake-up is enough.
//
// model/ring.pml checks these rules with the same names, model/liar.pml what a
// hostile peer can reach; whoever changes wake.go, fetch.go, position.go or the
// order of stores anywhere changes the model first.
package ring
