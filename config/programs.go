package config

// referencePrograms is what a program may rely on, which package services/payload
// keeps.
const referencePrograms = `## Programs

What a program of the specs above finds, and what ends it:

| | exec | exec-once |
|---|---|---|
| runs | for each connection | as long as the service |
| standard input | what the peer sends, to its end | empty |
| standard output | goes to the peer; its end is the end of that | lines in the log |
| standard error | lines in the log | lines in the log |
| file 3 | | a listening unix stream socket |

Its working directory is ` + "`/`" + `, its user that of the options ` + "`uid` and `gid`" + `, with no other groups. It has no other files
open, and this environment alone:

| Variable | Value | For |
|---|---|---|
| ` + "`PATH`, `HOME`, `TERM`" + ` | as PID 1, or the daemon, has them | both |
| ` + "`XVSOCK_SERVICE`, `XVSOCK_PORT`" + ` | name and port of the service | both |
| ` + "`XVSOCK_PEER_CID`, `XVSOCK_PEER_PORT`" + ` | the address of the peer | exec |
| ` + "`XVSOCK_PEER_NAME`, `XVSOCK_PEER_UUID`" + ` | the peer as the toolstack calls it; empty if the manager has not told | exec |
| ` + "`LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`" + ` | 1, its process id, the name of the service: as in sd_listen_fds(3) | exec-once |

**exec-once** accepts connections from its socket. The remote address of each is the abstract unix name
` + "`xvsock/CID/PORT/SERIAL`" + `, which Go's ` + "`RemoteAddr`" + ` shows with ` + "`@`" + ` in front: the address of the peer, and a random
number that no other connection has. Nobody else can connect to that socket.

**forward** connects to its target for each connection; to a unix socket, under such a name as exec-once sees. Any
program of the domain can take a name like that: it counts only if SO_PEERCRED says that the daemon's user, root, has
connected, or if the rights of the target's socket let nobody but root in. It tries the target before the service is
offered, and again when nobody has connected for 10 s: the target then sees a connection that is closed at once.

**The end.** A program that is to end, because its connection broke or its service ends, gets SIGTERM with its whole
process group, and SIGKILL 2 s later. When it has ended itself, the rest of its group gets SIGKILL. A process that has
called setsid(2) is no longer in the group, and escapes that. A peer is not told how a program ended.

**Again.** A service whose program cannot be run, or has ended (exec-once), or whose target takes no connection
(forward), is NOT_SERVING, and connecting to it is refused. It is started again after 0.2 s, then after twice as long
each time, at last every 5 s; less up to a quarter of that by chance. After 30 s without a failure it begins anew.

`
