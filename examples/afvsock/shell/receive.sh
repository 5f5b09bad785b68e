#!/bin/sh
# receive.sh: takes one file from send.sh in another domain.
#
#	./receive.sh 5001 backup.tar
#
# Nothing but AF_VSOCK, as socat has it (apt-get install socat). The file appears under its
# name only when all of it has come, by its checksum. One connection, one file; to serve
# each connection with a program of its own, as inetd does:
#
#	socat VSOCK-LISTEN:5001,fork,max-children=16 EXEC:/usr/bin/sort
set -eu

# take is what a connection is joined to: the checksum comes first, then the file.
take() {
	read -r sum
	cat >"$FILE.part"
	[ "$(sha256sum <"$FILE.part")" = "$sum" ]
	mv "$FILE.part" "$FILE"
	echo ok
}

if [ "${1-}" = --take ]; then
	take
	exit
fi
[ $# = 2 ] || { echo "usage: $0 PORT FILE" >&2; exit 2; }
[ ! -e "$2" ] || { echo "$0: $2 is there already" >&2; exit 1; }
command -v socat >/dev/null || { echo "$0: socat is missing: apt-get install socat" >&2; exit 125; }

export FILE="$2" RECEIVE="$0"
trap 'rm -f "$FILE.part"' EXIT
socat "VSOCK-LISTEN:$1" SYSTEM:'sh $RECEIVE --take' || :
[ -e "$FILE" ] || { echo "$0: not all of $FILE came" >&2; exit 1; }
