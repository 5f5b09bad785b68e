package door_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"xvsock/bridge/door"
	"xvsock/vsock"
)

func TestAProgramConnectsByNameAndNumber(t *testing.T) {
	w := newWorld(t, door.Config{})
	w.echo(7)
	for _, address := range []string{"@backend:7", "dom0:echo", "0x7ff1:7", "32753:echo"} {
		c, err := w.DialContext(t.Context(), address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		io.WriteString(c, "hello")
		c.(interface{ CloseWrite() error }).CloseWrite()
		if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
			t.Errorf("%s: %q, %v", address, got, err)
		}
		if a, ok := c.LocalAddr().(vsock.Addr); !ok || a.Port < 0xC0000000 {
			t.Errorf("%s: local address %v", address, c.LocalAddr())
		}
		c.Close()
	}
	await(t, "the end of all connections", func() bool { return len(w.door.Status().Clients) == 0 })
}

func TestMegabytesComeBackWhole(t *testing.T) {
	w := newWorld(t, door.Config{})
	w.echo(7)
	c, err := w.DialContext(t.Context(), "@backend:7")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	go func() { c.Write(data); c.(interface{ CloseWrite() error }).CloseWrite() }()
	if got, err := io.ReadAll(c); !bytes.Equal(got, data) || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestWhatIsSentBehindTheLineIsTheStreams(t *testing.T) {
	w := newWorld(t, door.Config{})
	w.echo(7)
	c := w.connect("CONNECT @backend echo\nhello")
	c.CloseWrite()
	c.begins("OK 3221225")
	if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWhoGetsNothingIsToldWhy(t *testing.T) {
	w := newWorld(t, door.Config{Deny: func(port uint32) bool { return port == 4000 }})
	w.echo(1) // the manager's
	w.echo(4000)
	for name, test := range map[string]struct{ say, want string }{
		"the manager's port":        {"CONNECT @backend 1\n", "ERR EACCES "},
		"the same by its name":      {"CONNECT @backend manager\n", "ERR EACCES "},
		"the domain's own port 1":   {"CONNECT self 1\n", "ERR EACCES "},
		"a port that is denied":     {"CONNECT @backend 4000\n", "ERR EACCES port 4000 is denied"},
		"nobody listens":            {"CONNECT @backend 9\n", "ERR ECONNREFUSED "},
		"no such domain":            {"CONNECT 77 7\n", "ERR EHOSTUNREACH "},
		"no such name":              {"CONNECT nobody 7\n", `ERR EHOSTUNREACH no domain "nobody"`},
		"no such service":           {"CONNECT @backend nothing\n", "ERR EINVAL "},
		"no domain":                 {"CONNECT 7\n", "ERR EINVAL no domain given"},
		"nothing to accept from":    {"ACCEPT\n", "ERR EINVAL "},
		"another protocol":          {"GET / HTTP/1.1\r\n\r\n", "ERR EINVAL "},
		"a NUL":                     {"CONNECT \x00 7\n", "ERR EINVAL "},
		"a megabyte without a line": {strings.Repeat("a", 1<<20), "ERR EINVAL "},
		"the manager's to listen":   {"LISTEN 1\n", "ERR EACCES port 1 is the connection manager's"},
		"a port beyond all":         {"LISTEN 4294967296\n", "ERR EINVAL "},
		"the port that is any":      {"LISTEN 4294967295\n", "ERR EINVAL "},
		"a port with a zero":        {"LISTEN 010\n", "ERR EINVAL "},
		"a hexadecimal port":        {"LISTEN 0x1b58\n", "ERR EINVAL "},
		"a port with a line":        {"LISTEN 7_000\n", "ERR EINVAL "},
		"any port, twice":           {"LISTEN 00\n", "ERR EINVAL "},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.connect("")
			go io.WriteString(c.UnixConn, test.say)
			c.begins(test.want)
			c.ended()
		})
	}
	await(t, "the end of all", func() bool { return len(w.door.Status().Clients) == 0 })
	if n := w.door.Status().Refused; n != 20 {
		t.Errorf("%d refusals are counted", n)
	}
}

func TestErrorsOfTheClientAreErrnos(t *testing.T) {
	w := newWorld(t, door.Config{})
	for address, errno := range map[string]syscall.Errno{
		"@backend:1": syscall.EACCES,
		"@backend:9": syscall.ECONNREFUSED,
		"77:7":       syscall.EHOSTUNREACH,
		"@backend:x": syscall.EINVAL,
	} {
		if _, err := w.DialContext(t.Context(), address); !isErrno(err, errno) || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestAClientThatSaysNothingIsLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("takes five seconds")
	}
	w := newWorld(t, door.Config{})
	began := time.Now()
	silent, half := w.connect(""), w.connect("CONNECT @back")
	silent.ended()
	half.ended()
	if took := time.Since(began); took < 4*time.Second || took > 10*time.Second {
		t.Errorf("after %v", took)
	}
	early := w.connect("CONN")
	early.Close()
	await(t, "the end of all", func() bool { return len(w.door.Status().Clients) == 0 })
}

// hanging is a Stack whose Dials take until they are given up.
type hanging struct{ begun, given chan struct{} }

func newHanging() hanging { return hanging{make(chan struct{}, 10), make(chan struct{}, 10)} }

func (h hanging) Listen(uint32) (*vsock.Listener, error) { return nil, syscall.EADDRINUSE }

func (h hanging) Dial(ctx context.Context, _ vsock.Addr) (*vsock.Conn, error) {
	h.begun <- struct{}{}
	<-ctx.Done()
	h.given <- struct{}{}
	return nil, ctx.Err()
}

// hangingDoor is a door on a Stack that never answers.
func hangingDoor(t *testing.T) (path string, h hanging, stop func() error) {
	t.Helper()
	return hangingDoorWith(t, door.Config{})
}

func hangingDoorWith(t *testing.T, cfg door.Config) (path string, h hanging, stop func() error) {
	t.Helper()
	path, h = tempDir(t)+"/s", newHanging()
	cfg.Path, cfg.Resolve = path, resolve
	stop = run(t, door.New(cfg), h, path)
	return path, h, stop
}

func TestADialIsGivenUpWhenItsClientHangsUp(t *testing.T) {
	path, h, _ := hangingDoor(t)
	c := connect(t, path, "CONNECT 5 7\ndata behind it")
	<-h.begun
	c.CloseWrite() // is no hanging up
	select {
	case <-h.given:
		t.Fatal("given up for a half-close")
	case <-time.After(50 * time.Millisecond):
	}
	c.Close()
	<-h.given
}

func TestTheClientsContextEndsItsDial(t *testing.T) {
	path, h, _ := hangingDoor(t)
	d := vsock.Door{Path: path}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-h.begun; cancel() }()
	if _, err := d.DialContext(ctx, "5:7"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	<-h.given
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := d.DialContext(ctx, "5:7")
	var op *net.OpError
	if !isErrno(err, syscall.ETIMEDOUT) || !errors.As(err, &op) || !op.Timeout() {
		t.Errorf("too late: %v", err)
	}
}

func TestTheDoorsEndIsTold(t *testing.T) {
	path, h, stop := hangingDoor(t)
	go func() { <-h.begun; stop() }()
	if _, err := (vsock.Door{Path: path}).DialContext(t.Context(), "5:7"); !isErrno(err, syscall.ESHUTDOWN) && !isErrno(err, syscall.ECONNRESET) {
		t.Errorf("%v", err)
	}
	if stop(); exists(path) {
		t.Error("the socket is left")
	}
}

// What cannot be told through a unix socket: a loss. What can: that a program has died
// with something unread.
func TestHowALossReadsAtEitherEnd(t *testing.T) {
	w := newWorld(t, door.Config{})
	l := w.listen(9)
	join := func() (net.Conn, net.Conn) {
		c, err := w.DialContext(t.Context(), "@backend:9")
		if err != nil {
			t.Fatal(err)
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close(); far.Close() })
		return c, far
	}
	c, far := join()
	far.(*vsock.Conn).Reset()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the program reads %v", err)
	}
	c, far = join()
	io.WriteString(far, "unread")
	io.WriteString(c, "x")
	io.ReadFull(far, make([]byte, 1))
	await(t, "what is unread", func() bool {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	})
	c.Close()
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the other domain reads %v", err)
	}
	c, far = join()
	c.Close()
	if _, err := far.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after an end the other domain reads %v", err)
	}
	await(t, "that its writing ends too", func() bool {
		_, err := far.Write([]byte("x"))
		return errors.Is(err, syscall.EPIPE)
	})
	await(t, "the end of all", func() bool { return len(w.door.Status().Clients) == 0 })
}

func TestAConnectionThroughTheDoorIsANetConn(t *testing.T) {
	w := newWorld(t, door.Config{})
	for name, ends := range map[string]func() (net.Listener, string, error){
		"dialed by the program": func() (net.Listener, string, error) { return w.listen(99), "@backend:99", nil },
		"accepted by it too": func() (net.Listener, string, error) {
			l, err := w.Door.Listen(t.Context(), 98)
			return l, "self:98", err
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, address, err := ends()
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				if c1, err = w.DialContext(t.Context(), address); err != nil {
					return nil, nil, nil, err
				}
				if c2, err = l.Accept(); err != nil {
					return nil, nil, nil, err
				}
				return c1, c2, func() { c1.Close(); c2.Close() }, nil
			})
		})
	}
}

func TestNoDescriptorIsLeftOfManyConnections(t *testing.T) {
	w := newWorld(t, door.Config{})
	w.echo(7)
	round := func() {
		c, err := w.DialContext(t.Context(), "@backend:7")
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "x")
		c.Close()
		refused := w.connect("CONNECT @backend 9\n")
		refused.begins("ERR")
		refused.Close()
		w.connect("CONN").Close()
	}
	round()
	idle := func() bool { return len(w.door.Status().Clients) == 0 }
	await(t, "the first round's end", idle)
	before := openFiles(t)
	for range 100 {
		round()
	}
	await(t, "the end of all", idle)
	await(t, "as few descriptors as before", func() bool { return openFiles(t) <= before })
}
