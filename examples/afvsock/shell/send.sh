#!/bin/sh
# send.sh: sends a file to receive.sh in another domain.
#
#	./send.sh 5 5001 backup.tar
#
# Nothing but AF_VSOCK, as socat has it (apt-get install socat). The CID is the id of the
# domain from 3 up, 65536 + id for the domains 0, 1 and 2, 0x7FF1 for the backend's.
#
# "Connection reset by peer" at once: nobody listens there, or policy denies it. "No such
# device": there is no such domain, or none that may be reached.
set -eu

[ $# = 3 ] || { echo "usage: $0 CID PORT FILE" >&2; exit 2; }
command -v socat >/dev/null || { echo "$0: socat is missing: apt-get install socat" >&2; exit 125; }
cid=$(($1)) port=$2 file=$3 # socat takes decimal CIDs only

# The checksum goes first. What ends a connection from outside, such as a rule that is taken
# back, looks like the end of the stream: only the receiver's answer tells that all of it came.
# -t: how long the receiver may take for it; left to itself, socat waits 0.5 s.
sum=$(sha256sum <"$file")
answer=$({ echo "$sum"; cat "$file"; } | socat -t 30 - "VSOCK-CONNECT:$cid:$port")
[ "$answer" = ok ] || { echo "$0: CID $cid did not get all of $file" >&2; exit 1; }
