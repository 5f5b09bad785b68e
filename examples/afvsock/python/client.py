#!/usr/bin/env python3
"""Sends a line to a port of another domain now and then, and outlives its reboots.

    python3 client.py CID PORT [COUNT]

Nothing but AF_VSOCK, as the socket module has it. CID is the id of the domain from 3 up,
65536 + id for the domains 0, 1 and 2, 0x7FF1 for the backend's, 0x7FF0 for this one.

All connections end when either domain is migrated, restored or rebooted, when the
daemon is started again, and when policy takes back what it allowed. So a client that has
to go on connects again, a little later each time. A domain that was created anew has
another id: `xvsock peers` tells it, and the unix socket takes names.
"""

import errno
import random
import socket
import sys
import time

PATIENCE = 5  # seconds for a connection and for an answer
LONGEST = 5  # seconds between two attempts, at the most

WHY = {
    errno.ECONNRESET: "nobody listens there, or policy denies it; or the link was lost",
    errno.ENODEV: "no such domain, or none that may be reached; or the daemon is not there",
    errno.ETIMEDOUT: "no answer",
    errno.EPIPE: "it has closed the connection",
}


def connect(cid, port):
    """Connects once."""
    conn = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    try:
        conn.settimeout(PATIENCE)
        conn.connect((cid, port))
    except OSError:
        conn.close()
        raise
    return conn


def talk(conn, numbers):
    """Sends a line for each number and prints what comes back; forgets what was answered."""
    with conn, conn.makefile("rb") as lines:
        while numbers:
            conn.sendall(f"line {numbers[0]}\n".encode())
            answer = lines.readline()
            if not answer.endswith(b"\n"):  # the end of the stream; a revocation reads so, too
                raise OSError(errno.EPIPE, "end of stream")
            print(answer.decode(errors="replace"), end="", flush=True)
            numbers.pop(0)
            time.sleep(0.1)


def main():
    try:
        cid, port = int(sys.argv[1], 0), int(sys.argv[2], 0)
        count = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    except (IndexError, ValueError):
        sys.exit("usage: client.py CID PORT [COUNT]")
    numbers, pause = list(range(1, count + 1)), 0.1
    while numbers:
        left = len(numbers)
        try:
            talk(connect(cid, port), numbers)
        except OSError as problem:
            if len(numbers) < left:  # it was well in between
                pause = 0.1
            why = WHY.get(problem.errno, problem)
            print(f"{cid}:{port}: {why}; again in {pause:.1f} s", file=sys.stderr)
            time.sleep(pause * random.uniform(0.75, 1))  # not all clients at once
            pause = min(2 * pause, LONGEST)


if __name__ == "__main__":
    main()
