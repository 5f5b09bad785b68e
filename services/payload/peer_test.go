package payload_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/services"
	"xvsock/services/payload"
	"xvsock/vsock"
)

// execVsock is runExec on vsock.
func execVsock(t *testing.T, c payload.Config, args []string) *host {
	t.Helper()
	c.Name, c.Port, c.Identify = "kv", 5000, identify
	return runVsock(t, func(log *slog.Logger) services.Service {
		c.Log = log
		return payload.NewExec(c, args)
	})
}

func shell(script string) []string { return []string{"/bin/sh", "-c", script} }

func TestAPeerThatIsGoneTakesItsProgramAlong(t *testing.T) {
	const asleep = `echo on; exec sleep 1000`
	for name, test := range map[string]struct {
		script string
		end    func(*vsock.Conn)
		stays  bool
	}{
		"closed in order":                  {asleep, func(c *vsock.Conn) { c.Close() }, false},
		"ended both ways":                  {asleep, func(c *vsock.Conn) { c.CloseWrite(); c.CloseRead() }, false},
		"reset":                            {asleep, func(c *vsock.Conn) { c.Reset() }, false},
		"sends no more":                    {asleep, func(c *vsock.Conn) { c.CloseWrite() }, true},
		"reads no more":                    {asleep, func(c *vsock.Conn) { c.CloseRead() }, true},
		"reset, program reads nothing":     {`echo on; exec 1>&-; exec sleep 1000`, flood, false},
		"closed, the program still writes": {`trap '' PIPE; echo on; while :; do echo x; sleep 0.02; done 2>/dev/null`, func(c *vsock.Conn) { c.Close() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := execVsock(t, payload.Config{Grace: 100 * time.Millisecond}, shell(test.script))
			c := h.call()
			readLine(t, c)
			began := time.Now()
			test.end(c)
			if test.stays {
				time.Sleep(500 * time.Millisecond)
				if h.status().Open != 1 {
					t.Error("a half-close ended the program")
				}
				c.Close()
			}
			h.idle()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("the program was ended after %v", took)
			}
			noChildren(t)
		})
	}
}

// flood sends more than anybody takes, and breaks the connection.
func flood(c *vsock.Conn) {
	io.ReadAll(c) // the program's half-close
	c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	c.Write(make([]byte, 4<<20))
	c.Reset()
}

func TestHowAProgramEndsIsHowItsConnectionEnds(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		want   error
	}{
		"status 0":                      {`printf part`, nil},
		"status 3":                      {`printf part; exit 3`, nil},
		"killed":                        {`printf part; kill -9 $$`, syscall.ECONNRESET},
		"killed by its own fault":       {`printf part; kill -SEGV $$`, syscall.ECONNRESET},
		"killed after it closed stdout": {`printf part; exec 1>&-; sleep 0.1; kill -9 $$`, nil},
		"output closed, and alive":      {`printf part; exec 1>&-; read x`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := execVsock(t, payload.Config{}, shell(test.script)).call()
			if got, err := io.ReadAll(c); string(got) != "part" || !errors.Is(err, test.want) {
				t.Errorf("read %q, %v; want all of it, then %v", got, err, test.want)
			}
		})
	}
}

func TestTheEndOfAServiceIsNoEndOfAnAnswer(t *testing.T) {
	h := execVsock(t, payload.Config{}, shell(`trap 'exit 0' TERM; echo part; sleep 1000 & wait`))
	c := h.call()
	readLine(t, c)
	h.stop()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Read = %v; want a reset", err)
	}
}

func TestAProgramThatCannotBeStartedIsNoEmptyAnswer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone")
	h := runVsock(t, func(log *slog.Logger) services.Service {
		return payload.NewForward(payload.Config{Identify: identify, Log: log, Probe: -1}, "unix", path)
	})
	s := newTarget(t, "unix", path)
	c := h.call()
	io.WriteString(c, "x")
	io.ReadFull(c, make([]byte, 1))
	s.close()
	if got, err := io.ReadAll(h.call()); len(got) > 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("without a target: %q, %v; want a reset", got, err)
	}
	c.Close()
	h.stop()
	s.all.Wait()
}

func TestATargetThatBreaksOffIsNoEnd(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*net.TCPConn)
		want error
	}{
		"closed": {func(c *net.TCPConn) { c.Close() }, nil},
		"reset":  {reset, syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			h := runVsock(t, func(log *slog.Logger) services.Service {
				return payload.NewForward(payload.Config{Identify: identify, Log: log, Probe: -1}, "tcp", l.Addr().String())
			})
			probe, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			probe.Close()
			c := h.call()
			far, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(far, "half an ans")
			io.ReadFull(c, make([]byte, 5))
			test.end(far.(*net.TCPConn))
			if got, err := io.ReadAll(c); string(got) != "an ans" || !errors.Is(err, test.want) {
				t.Errorf("read %q, %v; want the rest, then %v", got, err, test.want)
			}
		})
	}
}

func TestTheDeathOfTheOneProgramIsNoEnd(t *testing.T) {
	for word, test := range map[string]struct {
		rest string
		want error
	}{"die": {"dying", nil}, "crash": {"", syscall.ECONNRESET}} {
		t.Run(word, func(t *testing.T) {
			dir := t.TempDir()
			h := runVsock(t, func(log *slog.Logger) services.Service {
				return payload.NewOnce(payload.Config{Name: "kv", Port: 5000, Identify: identify, Log: log, Dir: dir}, program(t, "server"))
			})
			c := h.call()
			readLine(t, c)
			io.WriteString(c, word+"\n")
			if got, err := io.ReadAll(c); string(got) != test.rest || !errors.Is(err, test.want) {
				t.Errorf("read %q, %v; want %q, then %v", got, err, test.rest, test.want)
			}
		})
	}
}

// A target that has not taken the connection yet, nor reads, gets what a peer has sent
// that is gone.
func TestWhatAPeerSentLastIsDelivered(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "target"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := runVsock(t, func(log *slog.Logger) services.Service {
		return payload.NewForward(payload.Config{Identify: identify, Log: log, Probe: -1}, "unix", l.Addr().String())
	})
	h.await(services.Serving)
	probe, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	probe.Close()
	c := h.call()
	io.WriteString(c, strings.Repeat("x", 100<<10))
	c.Close()
	h.idle()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if got, err := io.ReadAll(far); len(got) != 100<<10 || err != nil {
		t.Errorf("%d bytes, %v; want 100 KiB and the end", len(got), err)
	}
}

// A target whose queue of connections is full, as by the peers of one domain.
func TestABusyTargetCostsOnlyTheConnection(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits 5 s for a dial")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	path := filepath.Join(t.TempDir(), "busy")
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 3)); err != nil {
		t.Fatal(err)
	}
	h := runVsock(t, func(log *slog.Logger) services.Service {
		return payload.NewForward(payload.Config{Identify: identify, Log: log, Probe: 100 * time.Millisecond}, "unix", path)
	})
	var all []*vsock.Conn
	for range 6 { // and the probes
		all = append(all, h.call())
	}
	await(t, "a dial in vain", func() bool { return h.log.count("connection not forwarded") > 0 })
	cut := 0
	for _, c := range all {
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, syscall.ECONNRESET) {
			cut++
		}
	}
	if cut == 0 {
		t.Error("no connection was reset")
	}
	if h.state() != services.Serving || h.status().Starts != 1 {
		t.Errorf("%s, %d starts, %v", h.state(), h.status().Starts, h.status().Err)
	}
}

// broken is a connection in whose Read there is a bug.
type broken struct{ net.Conn }

func (broken) Read([]byte) (int, error) { panic("found a bug") }

func TestAPanicInAFlowCostsOneConnection(t *testing.T) {
	target := newTarget(t, "unix", filepath.Join(t.TempDir(), "target"))
	defer target.all.Wait()
	defer target.close()
	log := slog.New(slog.DiscardHandler)
	c := payload.Config{Identify: identify, Log: log, Probe: -1}
	for name, svc := range map[string]services.Service{
		"exec":    payload.NewExec(c, shell("exec sleep 1000")),
		"forward": payload.NewForward(c, "unix", target.l.Addr().String()),
	} {
		t.Run(name, func(t *testing.T) {
			l := &memory{conns: make(chan net.Conn), closed: make(chan struct{})}
			ctx, cancel := context.WithCancel(t.Context())
			ended := newResult(func() error { return svc.Serve(ctx, l) })
			near, far := net.Pipe()
			l.conns <- broken{near}
			far.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := far.Read(make([]byte, 1)); err == nil || errors.Is(err, unix.ETIMEDOUT) {
				t.Errorf("Read = %v; want the connection's end", err)
			}
			counts := svc.(services.Counter).Counts
			await(t, "the panic is counted", func() bool { open, _, _, panics := counts(); return open == 0 && panics == 1 })
			cancel()
			if err := ended(); err != nil {
				t.Errorf("Serve = %v", err)
			}
		})
	}
}
