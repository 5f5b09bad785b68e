package rpctest

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"xvsock/services"
)

// ask makes a call, which is one line, and returns the first reply to it.
func ask(t testing.TB, conn net.Conn, in *bufio.Reader, call string) string {
	t.Helper()
	io.WriteString(conn, call+"\n")
	reply, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// CheckPace checks, in a bubble of testing/synctest, that a caller's calls are slowed
// down.
func (l *Listener) CheckPace(t testing.TB, c services.Caller, call string) {
	t.Helper()
	conn := l.Dial(t, c)
	in, began := bufio.NewReader(conn), time.Now()
	for range 1000 {
		ask(t, conn, in, call)
	}
	if d := time.Since(began); d < 6*time.Second {
		t.Errorf("1000 calls of domain %d in %v; want 100 a second after the first 300", c.Domain, d)
	}
}

// CheckStreams checks, in a bubble of testing/synctest, that a domain has few streams at
// once of those that a call begins, and no other pays for it. Good is part of the first
// reply.
func (l *Listener) CheckStreams(t testing.TB, call, good string) {
	t.Helper()
	for _, c := range []struct {
		name   string
		domain uint16
		want   string
	}{
		{"the first", 5, good},
		{"the second", 5, good},
		{"the third", 5, good},
		{"the fourth", 5, good},
		{"the fifth", 5, "LimitReached"},
		{"one of another domain", 6, good},
	} {
		conn := l.Dial(t, services.Caller{Domain: c.domain})
		if got := ask(t, conn, bufio.NewReader(conn), call); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q; want %s", c.name, got, c.want)
		}
	}
}
