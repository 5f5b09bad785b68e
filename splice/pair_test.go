package splice

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// duplex is what both kinds of socket are.
type duplex interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
}

// over returns the two ends of a connection.
func over(t *testing.T, network, address string) (ours, theirs duplex) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	c, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs = (<-accepted).(duplex), c.(duplex)
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	theirs.SetDeadline(time.Now().Add(30 * time.Second))
	return ours, theirs
}

// joined is a Pair that runs: a peer at TCP, a program at a unix socket.
type joined struct {
	peer, program duplex
	ended         chan error
	cancel        context.CancelCauseFunc
}

func join(t *testing.T, p *Pair) *joined {
	t.Helper()
	return joinOver(t, p, "tcp", "127.0.0.1:0")
}

// joinOver is join with the peer at a socket of another kind.
func joinOver(t *testing.T, p *Pair, network, address string) *joined {
	t.Helper()
	near, peer := over(t, network, address)
	far, program := over(t, "unix", filepath.Join(t.TempDir(), "s"))
	p.Near, p.Far, p.Buffers = near, far, new(Buffers)
	ctx, cancel := context.WithCancelCause(t.Context())
	j := &joined{peer: peer, program: program, ended: make(chan error, 1), cancel: cancel}
	go func() { j.ended <- p.Run(ctx) }()
	t.Cleanup(func() { cancel(nil) })
	return j
}

// wait returns what Run did.
func (j *joined) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-j.ended:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the pair goes on")
		return nil
	}
}

// reads checks what comes on a connection, and what then.
func reads(t *testing.T, who string, c net.Conn, want string, end error) {
	t.Helper()
	got, err := io.ReadAll(c)
	if string(got) != want || !errors.Is(err, end) || end == nil && err != nil {
		t.Errorf("%s reads %.40q, %v; want %.40q, %v", who, got, err, want, end)
	}
}

func TestBothDirectionsEndByThemselves(t *testing.T) {
	for name, peerFirst := range map[string]bool{"the peer's first": true, "the program's first": false} {
		t.Run(name, func(t *testing.T) {
			j := join(t, &Pair{Untaken: time.Minute})
			one, other := j.program, j.peer
			if peerFirst {
				one, other = j.peer, j.program
			}
			io.WriteString(one, "question")
			one.CloseWrite()
			reads(t, "the other", other, "question", nil)
			io.WriteString(other, "answer")
			other.CloseWrite()
			reads(t, "the first", one, "answer", nil)
			if err := j.wait(t); err != nil {
				t.Errorf("an end in order is %v", err)
			}
		})
	}
}

func TestMuchIsCarriedWhole(t *testing.T) {
	j := join(t, &Pair{Untaken: time.Minute})
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB
	go func() { j.peer.Write(data); j.peer.CloseWrite() }()
	go func() { io.Copy(j.program, j.program); j.program.CloseWrite() }()
	if got, err := io.ReadAll(j.peer); !bytes.Equal(got, data) || err != nil {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	if err := j.wait(t); err != nil {
		t.Error(err)
	}
}

func TestAPeersLossIsTheProgramsEnd(t *testing.T) {
	j := join(t, &Pair{Untaken: time.Minute})
	io.WriteString(j.peer, "half")
	io.ReadFull(j.program, make([]byte, 4))
	j.peer.(*net.TCPConn).SetLinger(0)
	j.peer.Close()
	reads(t, "the program", j.program, "", nil)
	if err := j.wait(t); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Run returned %v", err)
	}
}

// A unix socket that is closed with bytes unread is lost.
func TestAProgramsLossIsThePeers(t *testing.T) {
	j := join(t, &Pair{Untaken: time.Minute})
	io.WriteString(j.program, "half")
	io.ReadFull(j.peer, make([]byte, 4))
	io.WriteString(j.peer, "unread")
	readable(t, j.program)
	j.program.Close()
	reads(t, "the peer", j.peer, "", syscall.ECONNRESET)
	if err := j.wait(t); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Run returned %v", err)
	}
}

// A program that is gone wants nothing any more, and neither end need speak for that to
// be found out.
func TestAProgramThatClosesEndsBothDirections(t *testing.T) {
	j := join(t, &Pair{Untaken: time.Minute})
	io.WriteString(j.program, "bye")
	j.program.Close()
	reads(t, "the peer", j.peer, "bye", nil)
	if err := j.wait(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
}

func TestADirectionThatItsReaderShutIsShutForTheWriter(t *testing.T) {
	j := join(t, &Pair{Untaken: time.Minute})
	j.program.CloseRead()
	io.WriteString(j.peer, "for nobody")
	io.WriteString(j.program, "still here")
	got := make([]byte, 10)
	if _, err := io.ReadFull(j.peer, got); err != nil || string(got) != "still here" {
		t.Errorf("the other direction: %q, %v", got, err)
	}
	j.program.CloseWrite()
	reads(t, "the peer", j.peer, "", nil)
	j.peer.Close()
	if err := j.wait(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
}

func TestAPeerWhoseReaderHasShutCannotWrite(t *testing.T) {
	j := joinOver(t, &Pair{Untaken: time.Minute}, "unix", filepath.Join(t.TempDir(), "near"))
	j.program.CloseRead()
	var err error
	for range 10000 {
		if _, err = j.peer.Write(make([]byte, 1000)); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the peer's writing gives %v", err)
	}
	j.program.Close()
	if err := j.wait(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
}

func TestAPeerThatTakesNothingIsGivenUp(t *testing.T) {
	j := join(t, &Pair{Untaken: 200 * time.Millisecond})
	go j.program.Write(make([]byte, 64<<20))
	if err := j.wait(t); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Run returned %v", err)
	}
}

func TestTheContextEndsAPair(t *testing.T) {
	j := join(t, &Pair{})
	why := errors.New("it is over")
	j.cancel(why)
	if err := j.wait(t); err != why {
		t.Errorf("Run returned %v", err)
	}
	reads(t, "the peer", j.peer, "", syscall.ECONNRESET)
}

func TestAProgramsDeathIsThePeersLoss(t *testing.T) {
	j := join(t, &Pair{Untaken: time.Minute, Died: func() bool { return true }})
	j.program.Close()
	reads(t, "the peer", j.peer, "", syscall.ECONNRESET)
	if err := j.wait(t); err != ErrDied {
		t.Errorf("Run returned %v", err)
	}
}

// bad panics when it is read.
type bad struct{ duplex }

func (bad) Read([]byte) (int, error) { panic("a bug") }

func TestAPanicIsRunsAndLeavesNothing(t *testing.T) {
	near, peer := over(t, "tcp", "127.0.0.1:0")
	far, program := over(t, "unix", filepath.Join(t.TempDir(), "s"))
	defer func() {
		if p, ok := recover().(string); !ok || !strings.HasPrefix(p, "a bug") {
			t.Errorf("Run threw %v", p)
		}
		reads(t, "the program", program, "", nil)
		if _, err := io.ReadAll(peer); err == nil {
			t.Error("the peer reads an end")
		}
	}()
	p := Pair{Near: near, Far: bad{far}, Buffers: new(Buffers), Untaken: time.Minute}
	p.Run(t.Context())
}

func TestNoDescriptorIsLeft(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	runtime.GC()
	before := count()
	for i := range 50 {
		t.Run("", func(t *testing.T) {
			j := join(t, &Pair{Untaken: time.Minute})
			switch i % 3 {
			case 0:
				j.peer.Close()
				j.program.Close()
			case 1:
				j.program.Close()
			case 2:
				j.cancel(io.EOF)
			}
			j.wait(t)
		})
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors more", after-before)
	}
}

func TestWhoHasClosedBothDirectionsNeedNotBeTold(t *testing.T) {
	ours, theirs := over(t, "tcp", "127.0.0.1:0")
	theirs.Close()
	io.Copy(io.Discard, ours)
	ours.CloseWrite()
	for !errors.Is(ours.CloseRead(), syscall.ENOTCONN) { // until the kernel is done with it
		time.Sleep(time.Millisecond)
	}
	if !CloseRead(ours) {
		t.Error("that is an error")
	}
	ours.Close()
	if CloseRead(ours) {
		t.Error("a connection of ours that is closed can be told something")
	}
}

func TestAHangUpIsToldApartFromAnEnd(t *testing.T) {
	ours, theirs := over(t, "unix", filepath.Join(t.TempDir(), "s"))
	told := make(chan error, 1)
	go func() { told <- AwaitHangUp(ours) }()
	io.WriteString(theirs, "unread")
	theirs.CloseWrite()
	select {
	case err := <-told:
		t.Fatalf("a shutdown passed for a hang-up: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	theirs.Close()
	if err := <-told; err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(ours); string(got) != "unread" || err != nil {
		t.Errorf("what was sent before: %q, %v", got, err)
	}
	if err := AwaitHangUp(ours); err != nil {
		t.Errorf("asked later: %v", err)
	}
}

func TestWaitingForAHangUpCanBeStopped(t *testing.T) {
	ours, theirs := over(t, "unix", filepath.Join(t.TempDir(), "s"))
	told := make(chan error, 1)
	go func() { told <- AwaitHangUp(ours) }()
	ours.SetReadDeadline(time.Unix(1, 0))
	if err := <-told; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline: %v", err)
	}
	ours.SetReadDeadline(time.Time{})
	io.WriteString(theirs, "x")
	if n, err := ours.Read(make([]byte, 9)); n != 1 || err != nil {
		t.Errorf("a Read after it: %d, %v", n, err)
	}
	go func() { told <- AwaitHangUp(ours) }()
	ours.Close()
	if err := <-told; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a Close: %v", err)
	}
	near, peer := over(t, "tcp", "127.0.0.1:0")
	peer.Close()
	if err := AwaitHangUp(near); !errors.Is(err, errNotUnix) {
		t.Errorf("a TCP connection: %v", err)
	}
}

func TestNamesDifferAndAreTriedAgain(t *testing.T) {
	seen := make(map[string]bool)
	err := TryNames(5, 7, func(name string) error {
		if !strings.HasPrefix(name, "@xvsock/5/7/") || seen[name] {
			t.Errorf("name %q", name)
		}
		seen[name] = true
		return unix.EADDRINUSE
	})
	if !errors.Is(err, unix.EADDRINUSE) || len(seen) != 8 {
		t.Errorf("%d tries, %v", len(seen), err)
	}
	tries := 0
	if err := TryNames(5, 7, func(string) error { tries++; return io.EOF }); err != io.EOF || tries != 1 {
		t.Errorf("another error: %d tries, %v", tries, err)
	}
}

// Whoever sees a name must not have the next ones from it.
func TestASerialDoesNotTellTheNext(t *testing.T) {
	const names = 64
	var serials []uint64
	for range names / 8 {
		_ = TryNames(5, 7, func(name string) error {
			n, err := strconv.ParseUint(name[strings.LastIndexByte(name, '/')+1:], 10, 64)
			if err != nil {
				t.Error(err)
			}
			serials = append(serials, n)
			return unix.EADDRINUSE
		})
	}
	steps, common, ever := make(map[uint64]bool), ^uint64(0), uint64(0)
	for i, n := range serials {
		if common, ever = common&n, ever|n; i > 0 {
			steps[n-serials[i-1]] = true
		}
	}
	if len(steps) != names-1 {
		t.Errorf("of %d steps %d differ", names-1, len(steps))
	}
	if common != 0 || ever != ^uint64(0) { // by chance once in 2^57
		t.Errorf("bits that are always 1: %#x, always 0: %#x", common, ^ever)
	}
}

// readable waits until something can be read.
func readable(t *testing.T, c net.Conn) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(p, 0)
		return n > 0
	}); err != nil {
		t.Fatal(err)
	}
}
