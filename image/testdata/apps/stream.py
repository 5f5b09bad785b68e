#!/usr/bin/python3
"""Bytes both ways at once, with half-close.

stream.py client|server SIZE talks over its standard input and output, which socat
carries. Both send SIZE bytes, and shut their sending; but the server first, once the
client has shut its own, says what it received. The client compares."""

import hashlib
import os
import signal
import socket
import sys
import threading
import time

BLOCK = 1 << 16


def send(out, size, result):
    """Writes blocks that all differ, since each begins with its number."""
    digest, rest = hashlib.sha256(), os.urandom(BLOCK - 8)
    for at in range(0, size, BLOCK):
        block = (at.to_bytes(8, "little") + rest)[: size - at]
        digest.update(block)
        write(out, block)
    result.append(digest.hexdigest())


def write(out, data):
    data = memoryview(data)
    while data:
        data = data[os.write(out, data):]


def shut():
    """Ends the sending alone: socat's EXEC gives its program one socket for both ways."""
    socket.socket(fileno=os.dup(1)).shutdown(socket.SHUT_WR)


def receive(limit=None):
    """Reads up to limit bytes, or to the end; gives digest, count and what was left."""
    digest, count, extra = hashlib.sha256(), 0, b""
    while limit is None or count < limit:
        data = os.read(0, BLOCK)
        if not data:
            break
        if limit is not None and count + len(data) > limit:
            data, extra = data[: limit - count], data[limit - count:]
        digest.update(data)
        count += len(data)
    return digest.hexdigest(), count, extra


def main():
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # socat ends us when both ways have, before we could tell
    side, size = sys.argv[1], int(sys.argv[2])
    start, sent = time.monotonic(), []
    sender = threading.Thread(target=lambda: (send(1, size, sent), shut() if side == "client" else None))
    sender.start()
    if side == "server":
        got, count, _ = receive()
        sender.join()
        write(1, f"{got} {count} {sent[0]}\n".encode())
        return
    got, count, told = receive(size)
    sender.join()
    while data := os.read(0, BLOCK):
        told += data
    want = f"{sent[0]} {size} {got}\n".encode()
    if count != size or told != want:
        sys.exit(f"failed: {count} bytes, the server said {told!r}, want {want!r}")
    seconds = time.monotonic() - start
    print(f"ok: {size} bytes each way in {seconds:.1f} s, {2 * size / seconds / 1e6:.1f} MB/s together; "
          "what the server said after the end came", file=sys.stderr)


main()
