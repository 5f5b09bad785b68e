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
// loses the connection after Config.Untaken, and one that is lost is noticed at once,
// whatever its connection waits for. What a peer can make a program do wrong, or run
// out of, costs its own connection and no one else's.
//
// # How directions end
//
// Half-close is carried through both ways. With exec, the end of the peer's sending
// is the end of the program's standard input, and a program that closes its standard
// output ends the sending to the peer. A direction that its reader has shut is shut
// for its writer: what a peer sends to a program that has closed its standard input is
// dropped; a program whose peer reads no more gets SIGPIPE. A target that closes its unix
// socket has ended both directions.
//
// # How connections end
//
// An end is an end only if whoever speaks has made it: the program by closing its
// output or by exiting, with whatever status, the target by closing its socket. All
// else is a reset, after what was written before, so that no peer takes a part for the
// whole: a program killed by a signal (its own status is what counts, so a shell that
// outlives its killed child makes an end), a target that resets, one that cannot be
// reached, a program that cannot be started, and the end of the service. A worker
// process of an exec-once program that is killed is not told from one that closes.
//
// The other way round, a connection that is lost ends its program: SIGTERM to the
// program's process group, SIGKILL 2 s later. One whose both directions have ended, as
// when the peer has closed it in order, leaves the program Config.Grace, from when it
// last took something of what the peer had sent; then it is stopped too. So a peer that
// wants the work done waits for a word about it, or at least does not close. A forward
// goes on for as long as the target takes what the peer sent, and with at most
// Config.Untaken between two takings.
//
// # Processes
//
// A program gets a process group of its own, and when the program has ended the rest
// of the group gets SIGKILL: at once if it holds no output open, else 1 s later. A
// process that leaves the group, by setsid(2) or setpgid(2), leaves this care: it lives
// on after its connection and its service, its standard output and standard error
// closed, until it ends itself or the domain does, and counts against no bound. A
// program that must not do so is to be started by one that hinders it, such as a
// seccomp filter, or by a user with few processes (RLIMIT_NPROC).
//
// A program has the user and group that Config says and no other groups, the working
// directory /, and no descriptors but those named here. What it writes to its standard
// error goes to the log by lines of at most 1 KiB, 10 a second of a service with 100 at
// once, so that it cannot push everything else out of the log; the rest is counted.
//
// # The environment
//
// All that a program finds in its environment is:
//
//	PATH                                   of this process; /usr/bin:/bin if it has none
//	HOME, TERM                             of this process, if it has them, whoever
//	                                       the program runs as
//	XVSOCK_SERVICE, XVSOCK_PORT            the service's name and port
//	XVSOCK_PEER_CID, XVSOCK_PEER_PORT      exec: the other end
//	XVSOCK_PEER_NAME, XVSOCK_PEER_UUID     exec: as the toolstack wrote them; empty if unknown
//	LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES exec-once: sd_listen_fds(3)
//
// PID 1 sees to it that it has PATH, HOME and TERM.
package payload
