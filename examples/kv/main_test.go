package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("KV_TEST_MAIN") != "" {
		// sh cannot know the pid of what it starts, this process does.
		os.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
		main()
		syscall.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// start serves on TCP; stop ends it and returns what serve did.
func start(t *testing.T) (s *server, dial func() net.Conn, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = newServer(quiet())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, l) }()
	var result error
	stop = func() error {
		cancel()
		if ended != nil {
			result, ended = <-ended, nil
		}
		return result
	}
	t.Cleanup(func() { stop() })
	return s, func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { c.Close() })
		return c
	}, stop
}

func TestProtocol(t *testing.T) {
	_, dial, _ := start(t)
	for _, tt := range []struct{ name, say, want string }{
		{"nothing there", "GET a\n", "NONE\n"},
		{"set and get", "SET a hello world\nGET a\n", "OK\nVALUE hello world\n"},
		{"an empty text", "SET e \nGET e\n", "OK\nVALUE \n"},
		{"in the place of the old", "SET a 2\nGET a\n", "OK\nVALUE 2\n"},
		{"keys in order", "SET c 3\nSET b 2\nKEYS\n", "OK\nOK\nKEY a\nKEY b\nKEY c\nKEY e\nEND\n"},
		{"delete", "DEL a\nDEL a\nGET a\n", "OK\nNONE\nNONE\n"},
		{"with a carriage return", "SET a x\r\nGET a\r\n", "OK\nVALUE x\n"},
		{"quit", "GET b\nQUIT\nGET b\n", "VALUE 2\n"},
		{"an unknown command", "get a\n\n", "ERROR unknown command\nERROR unknown command\n"},
		{"no key", "GET\nSET\nDEL \n", strings.Repeat("ERROR bad key\n", 3)},
		{"no text", "SET a\n", "ERROR usage: GET key, SET key text, DEL key, KEYS, QUIT\n"},
		{"a text too many", "GET a b\n", "ERROR usage: GET key, SET key text, DEL key, KEYS, QUIT\n"},
		{"a long key", "GET " + strings.Repeat("k", 65) + "\n", "ERROR bad key\n"},
		{"a key that is not printable", "GET \x1b[31m\n", "ERROR bad key\n"},
		{"the longest text", "SET l " + strings.Repeat("v", 4096) + "\n", "OK\n"},
		{"a text too long", "SET l " + strings.Repeat("v", 4097) + "\n", "ERROR text too long\n"},
		{"a line too long", "SET l " + strings.Repeat("v", 5000) + "\n", "ERROR line too long\n"},
		{"half a line", "GET b", ""},
	} {
		c := dial()
		io.WriteString(c, tt.say)
		c.(*net.TCPConn).CloseWrite()
		got, err := io.ReadAll(c)
		// Unread input turns the end of a TCP connection into a reset.
		if string(got) != tt.want || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestTheStoreIsBounded(t *testing.T) {
	s := newStore()
	for i := range maxKeys {
		if err := s.set(fmt.Sprint("k", i), ""); err != nil {
			t.Fatalf("key %d: %v", i, err)
		}
	}
	if err := s.set("more", ""); !errors.Is(err, errFull) {
		t.Errorf("a key too many: %v", err)
	}
	if err := s.set("k0", "new"); err != nil {
		t.Errorf("a text in the place of another: %v", err)
	}
	s = newStore()
	text := strings.Repeat("x", maxText)
	n := 0
	for s.set(fmt.Sprint("k", n), text) == nil {
		n++
	}
	if n*(maxText+2) > maxBytes || s.bytes > maxBytes || n < maxBytes/(maxText+8) {
		t.Errorf("%d texts, %d bytes", n, s.bytes)
	}
	if !s.del("k0") || s.set("k0", text) != nil {
		t.Error("a place given back is not given out again")
	}
	for _, k := range s.keys() {
		s.del(k)
	}
	if s.bytes != 0 {
		t.Errorf("an empty store counts %d bytes", s.bytes)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	s, dial, _ := start(t)
	for range maxConns {
		s.slots <- struct{}{}
	}
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("the connection over the bound was served")
	}
	<-s.slots
	c := dial()
	io.WriteString(c, "QUIT\n")
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for range maxConns - 1 {
		<-s.slots
	}
}

func TestIdleAndDeafPeersLoseTheConnection(t *testing.T) {
	for name, tt := range map[string]struct {
		say   string
		after time.Duration
	}{
		"a silent peer":              {"", idleTime},
		"a peer that does not read":  {"GET a\n", writeTime},
		"a peer with half a request": {"GET", idleTime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				defer a.Close()
				go io.WriteString(a, tt.say)
				began := time.Now()
				newServer(quiet()).talk(t.Context(), b)
				if took := time.Since(began); took != tt.after {
					t.Errorf("ended after %v; want %v", took, tt.after)
				}
			})
		})
	}
}

func TestStopAnswersWhatWasRead(t *testing.T) {
	_, dial, stop := start(t)
	c := dial()
	r := bufio.NewReader(c)
	io.WriteString(c, "SET a 1\n")
	r.ReadString('\n')
	began := time.Now()
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("serve() = %v", err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the end took %v", took)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the connection ended with %v", err)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	none := func(string) string { return "" }
	plain := filepath.Join(dir, "plain")
	os.WriteFile(plain, nil, 0o600)
	for _, bad := range []string{"", "udp:1:2", "unix:", "tcp", "unix:" + plain} {
		if l, err := listen(bad, none); err == nil {
			l.Close()
			t.Errorf("listen(%q) worked", bad)
		}
	}
	at := "unix:" + filepath.Join(dir, "socket")
	first, err := listen(at, none)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listen(at, none); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listen where another does: %v", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as if killed
	first.Close()
	second, err := listen(at, none)
	if err != nil {
		t.Errorf("a stale socket: %v", err)
	} else {
		second.Close()
	}
}

// The whole program, with a socket that it was given, until SIGTERM.
func TestProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "KV_TEST_MAIN=1", "LISTEN_FDS=1")
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, "SET a 1\n")
	if got, err := bufio.NewReader(c).ReadString('\n'); got != "OK\n" {
		t.Errorf("%q, %v", got, err)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

func FuzzExecute(f *testing.F) {
	for _, line := range []string{"GET a", "SET a b", "DEL a", "KEYS", "QUIT", "", " ", "SET  ", "SET a b\r"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var out strings.Builder
		w := bufio.NewWriter(&out)
		s := newServer(quiet())
		more := s.execute(w, line)
		w.Flush()
		if more != strings.HasSuffix(out.String(), "\n") {
			t.Errorf("%q: more %v, answer %q", line, more, out.String())
		}
		for _, k := range s.store.keys() {
			if !validKey([]byte(k)) {
				t.Errorf("%q made the key %q", line, k)
			}
		}
	})
}
