// Command native compares xvsock's own stack, on plain Linux and without Xen, with what
// a program would otherwise take there: AF_UNIX stream sockets, and yamux over them.
//
//	go run . [-pairs 7] [-time 300ms] [-case rr-64B] [-json FILE] [-profile FILE]
//
// Each of a case's contestants has its turn in each round, so that what disturbs the
// machine disturbs all of them alike. What counts is the median of the ratios of one
// round, in the columns that begin with a slash and a peer's name; a time by itself says
// more about the machine than about anybody's program.
//
// Ours runs over package sim, whose grant copies and event channels cost a memory copy
// and a channel send: what is measured is the work of this process for a byte, not
// Xen's. Both domains are in this process; that is why the peers stand here twice,
// between two goroutines and between two processes.
//
// The same contestants are Go benchmarks in names that benchstat can split:
//
//	go test -run '^$' -bench . -count 10 | benchstat -col /by -
//
// With -profile FILE it measures nothing and writes a CPU profile of our own links, from
// which the repository's default.pgo is made: the compiler inlines along it.
//
// It is a module of its own, so that yamux is not among what xvsock depends on.
package main
