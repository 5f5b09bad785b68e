// Package payload offers what is not built in: a program that is started for each
// connection (exec), a program that runs as long as the service does and is given a
// listening socket (exec-once), and a socket of the domain that connections are
// forwarded to (forward). Each kind is a services.Service, so that its health follows
// it: a service is NOT_SERVING while its program cannot be run, or its target does
// not answer, and is tried again by the supervisor.
//
// # What a peer can do
//
// The peer's bytes go to the program and are not looked at here. A peer can have so
// many connections at once, and with exec so many programs, as Config.PerDomain says,
// all of them together Config.Max. A connection may be silent for ever, because the
// protocol is the payload's; but a peer that does not take what is written to it
// loses the connection after Config.Untaken, and one that is lost is noticed within
// 10 s even when nothing moves.
//
// # How directions end
//
// Half-close is carried through both ways. With exec, the end of the peer's sending
// is the end of the program's standard input, and a program that closes its standard
// output ends the sending to the peer. A direction that its reader has shut is shut
// for its writer: what a peer sends to a program that has closed its standard input is
// dropped; a program whose peer reads no more gets SIGPIPE.
//
// A connection that breaks, instead of ending, ends its program: SIGTERM to the
// program's process group, SIGKILL 2 s later. The other way round a peer cannot tell
// how a program ended: it receives the rest of the output and the end of the stream,
// after status 0 and after SIGKILL alike. A protocol that has to tell a whole answer
// from a part needs its own word for the end.
//
// # Processes
//
// A program gets a process group of its own, and when the program has ended the rest
// of the group gets SIGKILL: at once if it holds no output open, else 1 s later. What
// leaves the group (setsid) leaves this care, but for its output, which is closed. A
// program has the user and group that Config says and no other groups, the working
// directory /, the environment of this package's making alone, and no descriptors
// but those named here. What it writes to its standard error goes to the log by lines
// of at most 1 KiB, 50 a second of a service with 200 at once; the rest is counted.
package payload
