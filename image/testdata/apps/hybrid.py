#!/usr/bin/python3
"""hybrid.py SOCKET REQUEST: connects to a unix socket of the hybrid-vsock dialect, says
REQUEST ("CONNECT 22"), and joins the connection to standard input and output."""

import os
import socket
import sys
import threading

CHUNK = 1 << 16


def upload(s):
    while data := os.read(0, CHUNK):
        s.sendall(data)
    s.shutdown(socket.SHUT_WR)


def main():
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.sendall(sys.argv[2].encode() + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        byte = s.recv(1)
        if not byte:
            break
        answer += byte
    if not answer.startswith(b"OK "):
        sys.exit(f"answer: {answer.decode(errors='replace').strip() or 'none'}")
    threading.Thread(target=upload, args=(s,), daemon=True).start()
    while data := s.recv(CHUNK):
        while data:
            data = data[os.write(1, data):]


main()
