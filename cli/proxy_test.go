package cli_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xvsock/vsock/hybrid"
)

// listening waits until a proxy listens, and returns the address that its log tells.
func listening(t *testing.T, s *started) string {
	t.Helper()
	line := s.line()
	_, rest, found := strings.Cut(line, " address=")
	if !found {
		t.Fatalf("it says %q", line)
	}
	address, _, _ := strings.Cut(rest, " ")
	return address
}

// startProxy starts a proxy, and returns it with its address.
func startProxy(t *testing.T, args ...string) (*started, string) {
	t.Helper()
	s := start(t, append([]string{"proxy"}, args...)...)
	return s, listening(t, s)
}

// ends checks that a proxy ends in order when it is told to.
func (s *started) ends() result {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	r := s.end()
	if r.code != 0 || !strings.Contains(r.stderr, "msg=stopped") || r.stdout != "" {
		s.t.Errorf("it ends with %+v", r)
	}
	return r
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// exchange sends data, ends the sending, and checks that the same comes back with the end.
func exchange(t *testing.T, c net.Conn) {
	t.Helper()
	data, sum := random(1 << 20)
	go func() {
		c.Write(data)
		c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	h := sha256.New()
	if n, err := io.Copy(h, c); n != 1<<20 || err != nil || [sha256.Size]byte(h.Sum(nil)) != sum {
		t.Errorf("%d bytes come back, %v", n, err)
	}
}

// echoServer serves a socket that sends back what it is sent.
func echoServer(t *testing.T, network, address string) net.Addr {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				io.Copy(c, c)
				c.(interface{ CloseWrite() error }).CloseWrite()
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l.Addr()
}

func TestProxyJoinsEveryKindOfEnd(t *testing.T) {
	d := newFakeDoor(t)
	d.serves(map[string]func(*net.UnixConn){"db1 echo": echo})
	dir := t.TempDir()
	unixEcho, front := filepath.Join(dir, "echo"), filepath.Join(dir, "front")
	echoServer(t, "unix", unixEcho)
	tcpEcho := echoServer(t, "tcp", "127.0.0.1:0")
	for _, c := range []struct{ local, remote string }{
		{"unix:" + front, "xvsock:db1:echo"},
		{"unix:" + front, "unix:" + unixEcho},
		{"unix:" + front, "tcp:" + tcpEcho.String()},
		{"tcp:0", "xvsock:db1:echo"},
		{"tcp:*:0", "unix:" + unixEcho},
		{"tcp:[::1]:0", "tcp:" + tcpEcho.String()},
		{"xvsock:7000", "unix:" + unixEcho},
		{"xvsock:0", "tcp:" + tcpEcho.String()},
		{"xvsock:7000", "xvsock:db1:echo"},
	} {
		t.Run(c.local+" "+strings.ReplaceAll(c.remote, dir, ""), func(t *testing.T) {
			s, address := startProxy(t, "--door", d.path, c.local, c.remote)
			call := func() net.Conn {
				switch network, _, _ := strings.Cut(c.local, ":"); network {
				case "xvsock":
					var port uint32
					fmt.Sscanf(address[strings.LastIndexByte(address, ':')+1:], "%d", &port)
					return d.call(port)
				case "unix":
					return dial(t, "unix", front)
				default:
					return dial(t, "tcp", strings.Replace(address, "[::]", "127.0.0.1", 1))
				}
			}
			exchange(t, call())
			pid := s.cmd.Process.Pid
			open := descriptors(t, pid)
			for range 20 {
				exchangeOne(t, call())
			}
			eventually(t, "its descriptors are closed", func() bool { return descriptors(t, pid) <= open })
			s.ends()
		})
	}
}

// exchangeOne is a short connection.
func exchangeOne(t *testing.T, c net.Conn) {
	t.Helper()
	io.WriteString(c, "x")
	c.(interface{ CloseWrite() error }).CloseWrite()
	if all, err := io.ReadAll(c); string(all) != "x" || err != nil {
		t.Errorf("read %q, %v", all, err)
	}
	c.Close()
}

func TestProxyCarriesEitherEndOfSending(t *testing.T) {
	d := newFakeDoor(t)
	got := make(chan string, 1)
	d.serves(map[string]func(*net.UnixConn){"db1 9": func(c *net.UnixConn) {
		io.WriteString(c, "bye")
		c.CloseWrite()
		all, _ := io.ReadAll(c)
		got <- string(all)
	}})
	s, address := startProxy(t, "--door", d.path, "tcp:0", "xvsock:db1:9")
	c := dial(t, "tcp", address)
	if all, err := io.ReadAll(c); string(all) != "bye" || err != nil {
		t.Errorf("read %q, %v", all, err)
	}
	io.WriteString(c, "late")
	c.Close()
	if all := <-got; all != "late" {
		t.Errorf("the other side reads %q after its end", all)
	}
	s.ends()
}

func TestProxyCarriesALossWhereThatCanBeSaid(t *testing.T) {
	there := make(chan net.Conn, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, _ := l.Accept()
		there <- c
	}()
	s, address := startProxy(t, "tcp:0", "tcp:"+l.Addr().String())
	here := dial(t, "tcp", address)
	io.WriteString(here, "x")
	far := <-there
	io.ReadFull(far, make([]byte, 1))
	far.(*net.TCPConn).SetLinger(0)
	far.Close()
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a reset reads as %v", err)
	}
	s.ends()
}

func TestAConnectionThatCannotBeMadeCostsOnlyItself(t *testing.T) {
	d := newFakeDoor(t)
	d.refuses(map[string]*hybrid.Error{"db1 9": {Errno: syscall.ECONNREFUSED, Text: evil}})
	s, address := startProxy(t, "--door", d.path, "tcp:0", "xvsock:db1:9")
	for range 50 {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("it ends with %v; want a reset", err)
		}
	}
	r := s.ends()
	if n := strings.Count(r.stderr, "no connection"); n < 1 || n > 6 || !strings.Contains(r.stderr, "connect to db1:9: ") || strings.ContainsAny(r.stderr, "\x1b\u202e") {
		t.Errorf("%d warnings of 50 connections: %s", n, r.stderr)
	}
}

func TestProxyTakesSoManyConnectionsAtOnce(t *testing.T) {
	d := newFakeDoor(t)
	d.serves(map[string]func(*net.UnixConn){"db1 echo": echo})
	s, address := startProxy(t, "--door", d.path, "--max", "2", "tcp:0", "xvsock:db1:echo")
	answers := func(c net.Conn, within time.Duration) bool {
		io.WriteString(c, "x")
		c.SetReadDeadline(time.Now().Add(within))
		_, err := io.ReadFull(c, make([]byte, 1))
		return err == nil
	}
	first, second, third := dial(t, "tcp", address), dial(t, "tcp", address), dial(t, "tcp", address)
	if !answers(first, 20*time.Second) || !answers(second, 20*time.Second) || answers(third, 200*time.Millisecond) {
		t.Error("want an answer for two of three")
	}
	second.Close()
	third.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(third, make([]byte, 1)); err != nil {
		t.Errorf("the third is not served when there is room: %v", err)
	}
	s.ends()
}

func TestProxyListensAgainWhenTheDaemonRestarts(t *testing.T) {
	echoes := echoServer(t, "tcp", "127.0.0.1:0")
	d := newFakeDoor(t)
	s, _ := startProxy(t, "--door", d.path, "xvsock:7000", "tcp:"+echoes.String())
	open := d.call(7000)
	io.WriteString(open, "x")
	io.ReadFull(open, make([]byte, 1))
	for range 3 {
		d.stop()
		if l := s.line(); !strings.Contains(l, "listener lost") {
			t.Errorf("it says %q", l)
		}
		d.start()
		exchangeOne(t, d.call(7000))
		for l := ""; !strings.Contains(l, "listening again"); l = s.line() {
		}
	}
	s.ends()
}

// A client that has closed, and a server that says nothing, do not keep a slot for ever.
func TestAClientThatIsGoneKeepsNoSlot(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for kind, local := range map[string]string{"tcp": "tcp:0", "unix": "unix:" + filepath.Join(t.TempDir(), "front")} {
		t.Run(kind, func(t *testing.T) {
			s, address := startProxy(t, "--max", "1", "--linger", "500ms", local, "tcp:"+l.Addr().String())
			for range 3 {
				c := dial(t, kind, address)
				io.WriteString(c, "x")
				c.Close()
				l.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second))
				silent, err := l.Accept() // and so it had the slot
				if err != nil {
					t.Fatal(err)
				}
				defer silent.Close()
			}
			s.ends()
		})
	}
}

func TestAnIdleConnectionIsEndedWhereThatIsAsked(t *testing.T) {
	address := echoServer(t, "tcp", "127.0.0.1:0")
	s, front := startProxy(t, "--idle", "300ms", "tcp:0", "tcp:"+address.String())
	c := dial(t, "tcp", front)
	for range 4 {
		time.Sleep(150 * time.Millisecond)
		io.WriteString(c, "x")
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("when it is idle it reads %v; want a reset", err)
	}
	s.ends()
}

func TestAnEndOfTheKernelsIsListenedAt(t *testing.T) {
	s := start(t, "proxy", "vsock:0", "tcp:1")
	line := s.line()
	if strings.Contains(line, "address family not supported") {
		t.Skip(line)
	}
	if !strings.Contains(line, " at=vsock:*:") || strings.Contains(line, " at=vsock:*:0 ") {
		t.Errorf("it says %q", line)
	}
	s.ends()
}

func TestTheFileOfAUnixEnd(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "front")
	remote := "unix:" + filepath.Join(dir, "none")
	leftover := func() {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	for mode, want := range map[string]os.FileMode{"": 0o600, "0666": 0o666, "0": 0} {
		leftover() // is replaced
		args := []string{"unix:" + path, remote}
		if mode != "" {
			args = append(args, "--mode", mode)
		}
		s, _ := startProxy(t, args...)
		if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|want {
			t.Errorf("--mode %q: %v, %v", mode, info.Mode(), err)
		}
		r := run(t, "proxy", "unix:"+path, remote)
		if r.code != 125 || !strings.Contains(r.stderr, "another program listens at "+path) && os.Getuid() == 0 {
			t.Errorf("a second proxy: %+v", r)
		}
		oneLine(t, r)
		s.ends()
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after its end: %v", err)
		}
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := run(t, "proxy", "unix:"+path, remote)
	if _, err := os.Stat(path); r.code != 125 || !strings.Contains(r.stderr, "is no socket") || err != nil {
		t.Errorf("a file that is none of ours: %+v, %v", r, err)
	}
	oneLine(t, r)
	if r := run(t, "proxy", "unix:"+filepath.Join(dir, "no", "front"), remote); r.code != 125 {
		t.Errorf("no directory: %+v", r)
	}
}

func TestAProxyRemovesNoOthersFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "front")
	s, _ := startProxy(t, "unix:"+path, "tcp:1")
	os.Remove(path)
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s.ends()
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestTheServiceManagerIsToldOfAProxy(t *testing.T) {
	next := serviceManager(t)
	stop := background(t, nowhere(), "proxy", "tcp:0", "tcp:1")
	if state := next(); state != "READY=1\nSTATUS=passing on tcp:127.0.0.1:0 to tcp:127.0.0.1:1" {
		t.Errorf("it is told %q", state)
	}
	go stop()
	if state := next(); !strings.HasPrefix(state, "STOPPING=1\n") {
		t.Errorf("at the end it is told %q", state)
	}
	if r := stop(); r.code != 0 {
		t.Errorf("%+v", r)
	}
}

func TestAPortThatIsTakenIsTold(t *testing.T) {
	address := echoServer(t, "tcp", "127.0.0.1:0")
	r := run(t, "proxy", "tcp:"+address.String(), "tcp:1")
	if r.code != 125 || !strings.Contains(r.stderr, "listen at tcp:"+address.String()+": ") || !strings.Contains(r.stderr, "address already in use") {
		t.Errorf("%+v", r)
	}
	oneLine(t, r)
}
