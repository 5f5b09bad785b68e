#!/usr/bin/env python3
"""Sends every line back with the id of the domain that sent it in front.

    python3 server.py 5000

Nothing but AF_VSOCK, as the socket module has it. Another domain gets in if policy
allows it (`5000  web-*  db1  allow`). The CID of an accepted socket is the domain's id,
from 3 up, and 65536 + id for the domains 0, 1 and 2; no domain can claim another's.
Which program there it is, nobody says. Ports below 1024 are root's.
"""

import socket
import sys
import threading

PATIENCE = 60  # seconds without a line, or without one being taken, after which a peer is let go
LONGEST = 4096  # bytes of a line: another domain may send anything


def domain(cid):
    """The id of the domain that an accepted socket shows as cid."""
    return cid - 0x10000 if cid >= 0x10000 else cid


def answer(conn, peer):
    """Answers one connection to its end."""
    who = domain(peer[0])
    with conn:
        conn.settimeout(PATIENCE)
        lines = conn.makefile("rb")
        try:
            while line := lines.readline(LONGEST):
                conn.sendall(f"domain {who}: ".encode() + line)
        except OSError as problem:  # ECONNRESET: its domain or the link has gone
            print(f"domain {who}, port {peer[1]}: {problem}", file=sys.stderr)


def main():
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.exit("usage: server.py PORT")
    try:
        listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        # Not to the domain's own id: this domain calls itself CID 2.
        listener.bind((socket.VMADDR_CID_ANY, int(sys.argv[1])))
        listener.listen(128)
    except OSError as problem:
        sys.exit(f"port {sys.argv[1]}: {problem}")
    # A listener outlives the daemon and a migration.
    while True:
        conn, peer = listener.accept()
        threading.Thread(target=answer, args=(conn, peer), daemon=True).start()


if __name__ == "__main__":
    main()
