package payload_test

import (
	"context"
	"io"
	"net"
	"regexp"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/services"
	"xvsock/services/payload"
	"xvsock/vsock"
)

// memory is a listener that needs no descriptors.
type memory struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error   { m.once.Do(func() { close(m.closed) }); return nil }
func (m *memory) Addr() net.Addr { return &net.UnixAddr{} }

// exhaust leaves this process without descriptors until the function that it returns
// is called.
func exhaust(t *testing.T) (refill func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 200, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	var taken []int
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			break
		}
		taken = append(taken, fd)
	}
	return sync.OnceFunc(func() {
		for _, fd := range taken {
			unix.Close(fd)
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	})
}

func TestAShortageCostsOnlyTheConnection(t *testing.T) {
	s := payload.NewExec(payload.Config{Name: "kv", Port: 5000, Identify: identify}, program(t, "cat"))
	l := &memory{conns: make(chan net.Conn), closed: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := newResult(func() error { return s.Serve(ctx, l) })
	dial := func() net.Conn {
		near, far := net.Pipe()
		select {
		case l.conns <- near:
		case <-l.closed:
			t.Fatal("the service has ended")
		}
		far.SetDeadline(time.Now().Add(10 * time.Second))
		return far
	}
	refill := exhaust(t)
	defer refill()
	for range 3 {
		if _, err := dial().Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("Read = %v; want the connection's end", err)
		}
	}
	if err := s.(services.Preparer).Prepare(t.Context()); err != nil {
		t.Errorf("Prepare = %v; a shortage says nothing of the program", err)
	}
	refill()
	c := dial()
	io.WriteString(c, "x")
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Errorf("after the shortage: %v", err)
	}
	c.Close()
	cancel()
	if err := ended(); err != nil {
		t.Errorf("Serve = %v", err)
	}
}

func TestAProgramThatCannotWorkTakesTheServiceDown(t *testing.T) {
	h := runExec(t, payload.Config{}, shell("echo no configuration >&2; exit 1"))
	want := regexp.MustCompile(`/bin/sh ended after \d+(\.\d+)?m?s: exit status 1$`)
	for i := range 4 {
		readAll(t, h.dial())
		h.idle()
		if err := h.status().Fault; err == nil || !want.MatchString(err.Error()) {
			t.Errorf("Fault = %v after connection %d", err, i+1)
		}
	}
	if st := h.status(); st.Starts != 1 || st.Err != nil {
		t.Errorf("Status = %+v after four failures; want it to serve", st)
	}
	readAll(t, h.dial())
	await(t, "the service is started again", func() bool { return h.status().Starts == 2 })
	if err := h.status().Err; err == nil || !want.MatchString(err.Error()) {
		t.Errorf("Err = %v; want the last program's end", err)
	}
}

// What peers can make a program do is no fault of the program.
func TestAPeerCannotTakeTheServiceDown(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		do     func(c *vsock.Conn)
	}{
		"by what it sends":   {"read x; exit 1", func(c *vsock.Conn) { io.WriteString(c, "x\n"); io.ReadAll(c) }},
		"by its end":         {"read x; exit 1", func(c *vsock.Conn) { c.CloseWrite(); io.ReadAll(c) }},
		"by not reading":     {"while echo x; do :; done; exit 1", func(c *vsock.Conn) { c.CloseRead() }},
		"by breaking it off": {"read x; exit 1", func(c *vsock.Conn) { c.Reset() }},
	} {
		t.Run(name, func(t *testing.T) {
			h := execVsock(t, payload.Config{}, shell(test.script))
			for range 12 {
				test.do(h.call())
				h.idle()
			}
			if st := h.status(); st.Starts != 1 || st.Err != nil {
				t.Errorf("Status = %+v", st)
			}
		})
	}
}

func TestOwnChildrenChangesNothingBeforeItStartsAProgram(t *testing.T) {
	inherited, err := unix.Dup(1)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	payload.OwnChildren()
	payload.NewExec(payload.Config{}, program(t, "cat"))
	if flags, err := unix.FcntlInt(uintptr(inherited), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		t.Errorf("the descriptor has flags %#x, %v", flags, err)
	}
}
