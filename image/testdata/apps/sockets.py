#!/usr/bin/python3
"""What a program sees of AF_VSOCK, by the standard library's socket module alone.

Every verb prints a line, or says what was wrong and exits with 1. Several may be given,
with a comma between them, and behind the word nobody they are done as that user."""

import errno
import fcntl
import os
import selectors
import socket
import struct
import sys
import threading
import time

STREAM, SEQPACKET = socket.SOCK_STREAM, socket.SOCK_SEQPACKET
VMADDR_CID_HOST = 2  # what every program sees as its own CID
SO_VM_SOCKETS_CONNECT_TIMEOUT = 6  # linux/vm_sockets.h; a struct timeval


def new(kind=STREAM):
    return socket.socket(socket.AF_VSOCK, kind)


def name(e):
    return errno.errorcode.get(e.errno, str(e))


def fail(text):
    sys.exit("failed: " + text)


def millis(start):
    return (time.monotonic() - start) * 1000


def listener(port, kind=STREAM):
    s = new(kind)
    s.bind((socket.VMADDR_CID_ANY, port))
    s.listen(1024)
    return s


# serve PORT: echoes what comes to PORT as a stream, and to PORT + 1 as messages. It
# says who connects.
class Echo:
    def __init__(self, port):
        self.selector = selectors.DefaultSelector()
        self.pending = {}
        for p, kind in (port, STREAM), (port + 1, SEQPACKET):
            s = listener(p, kind)
            s.setblocking(False)
            self.selector.register(s, selectors.EVENT_READ, self.accept)

    def run(self):
        print("listening", flush=True)
        while True:
            for key, _ in self.selector.select():
                key.data(key.fileobj)

    def accept(self, s):
        try:
            c, (cid, port) = s.accept()
        except OSError as e:
            if e.errno != errno.EAGAIN:
                print("accept:", name(e), flush=True)
            return
        c.setblocking(False)
        self.pending[c] = b""
        self.selector.register(c, selectors.EVENT_READ, self.read)

    def read(self, c):
        try:
            data = c.recv(1 << 18)
        except OSError as e:
            if e.errno != errno.EAGAIN:
                self.end(c)
            return
        if not data:
            return self.end(c)
        self.pending[c] = data
        self.write(c)

    def write(self, c):
        try:
            n = c.send(self.pending[c])
        except BlockingIOError:
            n = 0
        except OSError:
            return self.end(c)
        self.pending[c] = self.pending[c][n:]
        if self.pending[c]:
            self.selector.modify(c, selectors.EVENT_WRITE, self.write)
        else:
            self.selector.modify(c, selectors.EVENT_READ, self.read)

    def end(self, c):
        self.selector.unregister(c)
        del self.pending[c]
        c.close()


def serve(port):
    Echo(int(port)).run()


def attempt(cid, port, want, within="1000", kind=STREAM, timeout=None):
    """Connects: the outcome is to be want, ok or an errno, not later than within ms.
    With timeout, in seconds, SO_VM_SOCKETS_CONNECT_TIMEOUT is set, and no failure is to
    be sooner than that."""
    s = new(kind)
    if timeout:
        whole, part = divmod(float(timeout), 1)
        # Of a socket that it knows as AF_VSOCK, Python sets options of 8 bytes alone.
        same = socket.socket(socket.AF_UNIX, kind, 0, os.dup(s.fileno()))
        same.setsockopt(socket.AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, struct.pack("ll", int(whole), int(part * 1e6)))
        same.close()
    start = time.monotonic()
    try:
        s.connect((int(cid, 0), int(port)))
        got = "ok"
    except OSError as e:
        got = name(e)
    took = millis(start)
    s.close()
    if got != want or took > float(within) or (timeout and got != "ok" and took < float(timeout) * 900):
        fail(f"CID {cid} port {port}: {got} in {took:.1f} ms, want {want} within {within} ms")
    print(f"CID {cid} port {port}: {got} in {took:.1f} ms", flush=True)


def attempt_seq(cid, port, want, within="1000"):
    attempt(cid, port, want, within, SEQPACKET)


def attempt_for(timeout, cid, port, want, within):
    """Is try with that time-out, before which it does not end without a connection."""
    attempt(cid, port, want, within, STREAM, timeout)


def echo(cid, port, size):
    """Sends size bytes, shuts its sending, and has them back."""
    s, size = new(), int(size)
    start = time.monotonic()
    s.connect((int(cid, 0), int(port)))
    data = os.urandom(min(size, 1 << 16)) * (size // (1 << 16) + 1)
    data = data[:size]
    sender = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
    sender.start()
    back = bytearray()
    while piece := s.recv(1 << 16):
        back += piece
    sender.join()
    if back != data:
        fail(f"{len(back)} of {size} bytes came back")
    print(f"{size} bytes and the end came back in {millis(start):.0f} ms")


def accept(port, want):
    """Takes one connection, which is to come from CID want, and tells it so."""
    s = listener(int(port))
    print("listening", flush=True)
    c, (cid, peer_port) = s.accept()
    local = c.getsockname()
    if c.getpeername() != (cid, peer_port):
        fail(f"accept said {cid}:{peer_port}, getpeername {c.getpeername()}")
    c.sendall(f"you are {cid}\n".encode())
    if cid != int(want, 0) or local != (VMADDR_CID_HOST, int(port)):
        fail(f"accepted {cid}:{peer_port} at {local}, want CID {want} at CID {VMADDR_CID_HOST}")
    print(f"accepted {cid}:{peer_port} at {local[0]}:{local[1]}")


def whoami(cid, port):
    """Prints what the other end, which is accept, says."""
    s = new()
    s.connect((int(cid, 0), int(port)))
    print(s.makefile().readline().strip())


def local():
    """The CID that programs see as their own."""
    with open("/dev/vsock", "rb") as f:
        cid = struct.unpack("I", fcntl.ioctl(f, socket.IOCTL_VM_SOCKETS_GET_LOCAL_CID, struct.pack("I", 0)))[0]
    if cid != VMADDR_CID_HOST:
        fail(f"local CID {cid}")
    print(f"local CID {cid}")


def blocked(cid, port, want, mark):
    """Is in a read when the connection ends, and says on the console how."""
    s = new()
    s.connect((int(cid, 0), int(port)))
    s.sendall(b"x")
    s.recv(1)
    print("blocked", flush=True)
    try:
        got = "EOF" if s.recv(1) == b"" else "data"
    except OSError as e:
        got = name(e)
    with open("/dev/console", "w") as console:
        print(f"{mark}: the read ended with {got}, want {want}", file=console)


def bounds(cid, port):
    """Messages of all sizes come back as they were sent, whatever waits on the way."""
    s = new(SEQPACKET)
    s.connect((int(cid, 0), int(port)))
    sizes = [1, 2, 3, 44, 4095, 4096, 4097, 65535, 65536, 65537, 100000, 200000, 7]
    for size in sizes:
        message = os.urandom(size)
        s.sendall(message)
        back = s.recv(1 << 18)
        if back != message:
            fail(f"a message of {size} bytes came back as one of {len(back)}")
    for i in range(50):
        s.sendall(bytes([i]) * (i + 1))
    for i in range(50):
        if (back := s.recv(1 << 18)) != bytes([i]) * (i + 1):
            fail(f"message {i} came back as {len(back)} bytes")
    print(f"{len(sizes)} messages of up to 200000 bytes, and 50 in a row, kept their bounds")


def many(cid, port, count):
    """Holds count connections at once, each of which echoes something of its own."""
    start, connections, count = time.monotonic(), [], int(count)
    for _ in range(count):
        s = new()
        s.connect((int(cid, 0), int(port)))
        connections.append(s)
    opened = millis(start)
    for rounds in range(2):
        for i, s in enumerate(connections):
            s.sendall(b"%8d" % (i + rounds) * 8)
        for i, s in enumerate(connections):
            if (back := s.recv(64, socket.MSG_WAITALL)) != b"%8d" % (i + rounds) * 8:
                fail(f"connection {i} had {back!r} back")
    for s in connections:
        s.close()
    print(f"{count} connections at once, opened in {opened:.0f} ms, all done after {millis(start):.0f} ms")


def churn(cid, port, count, parallel):
    """Opens and closes count connections, some at once; each tenth moves a byte."""
    count, parallel, errors = int(count), int(parallel), []
    address, start = (int(cid, 0), int(port)), time.monotonic()

    def work(n):
        for i in range(n):
            try:
                s = new()
                s.connect(address)
                if i % 10 == 0:
                    s.sendall(b"x")
                    if s.recv(1) != b"x":
                        errors.append("no echo")
                s.close()
            except OSError as e:
                errors.append(name(e))

    threads = [threading.Thread(target=work, args=(count // parallel,)) for _ in range(parallel)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        fail(f"{len(errors)} of {count}, the first with {errors[0]}")
    print(f"{count} connections opened and closed in {millis(start) / 1000:.1f} s, {parallel} at once")


def call(cid, port, method, parameters):
    """Calls a method of a port that speaks JSON, and gives the answer."""
    s = new()
    s.settimeout(5)
    s.connect((int(cid, 0), port))
    s.sendall(b'{"method":"%s","parameters":%s}\n' % (method.encode(), parameters.encode()))
    answer = b""
    while not answer.endswith((b"\n", b"\0")):
        piece = s.recv(4096)
        if not piece:
            break
        answer += piece
    return answer.rstrip(b"\0\n").decode()


def register(cid):
    """Tries to register a service, which is for the daemon alone."""
    answer = call(cid, 2, "org.xvsock.Discovery.Register", '{"name":"rogue","port":7001}')
    if "org.varlink.service.PermissionDenied" not in answer:
        fail("Register was answered with " + (answer or "nothing"))
    print(answer)


def diag():
    """Counts the sockets of AF_VSOCK in the kernel, as ss does (linux/vm_sockets_diag.h)."""
    NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, NLM_F_DUMP, NLMSG_DONE, NLMSG_ERROR = 4, 20, 1, 0x300, 3, 2
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
    request = struct.pack("BBHIIIII", socket.AF_VSOCK, 0, 0, 0xFFFFFFFF, 0, 0, 0, 0)
    s.sendall(struct.pack("IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + request)
    count = 0
    while True:
        data = s.recv(1 << 16)
        while data:
            size, kind = struct.unpack_from("IH", data)
            if kind == NLMSG_DONE:
                print(count)
                return
            if kind == NLMSG_ERROR:
                fail("sock_diag: " + os.strerror(-struct.unpack_from("i", data, 16)[0]))
            count += 1
            data = data[(size + 3) & ~3:]


def nobody():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


VERBS = {
    "serve": serve, "try": attempt, "try-seq": attempt_seq, "try-for": attempt_for, "echo": echo, "accept": accept,
    "whoami": whoami, "local": local, "blocked": blocked, "bounds": bounds, "many": many, "churn": churn,
    "register": register, "diag": diag,
}


def main(args):
    if args[0] == "nobody":
        nobody()
        args = args[1:]
    while args:
        end = args.index(",") if "," in args else len(args)
        try:
            VERBS[args[0]](*args[1:end])
        except OSError as e:
            fail(f"{args[0]}: {name(e)}")
        args = args[end + 1:]


main(sys.argv[1:])
